"""What curation costs: rules, MinHash, history."""
