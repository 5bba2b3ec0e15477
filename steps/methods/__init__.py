"""Every method of every slot: `slot: {method: some-name}` in a recipe is `steps/methods/slot/some_name.py`."""
