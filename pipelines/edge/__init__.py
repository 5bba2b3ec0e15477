"""The one place where Prefect, MLflow and DVC meet the steps."""
