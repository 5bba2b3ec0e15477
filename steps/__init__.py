"""What: one pure function of typed artifacts for each stage of a refresh."""
