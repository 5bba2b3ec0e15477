#!/bin/sh
# Two databases, each with an owner that cannot enter the other. PostgreSQL's image runs this once, on an empty volume.
set -eu
: "${PREFECT_DATABASE_PASSWORD:?set it in infra/environment}" "${MLFLOW_DATABASE_PASSWORD:?set it in infra/environment}"
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv prefect_password PREFECT_DATABASE_PASSWORD
\getenv mlflow_password MLFLOW_DATABASE_PASSWORD
CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE prefect, mlflow FROM PUBLIC;
SQL
