"""When and where: the score, the recipe, the command line and the edge to Prefect, MLflow and DVC."""
