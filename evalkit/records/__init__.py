"""Files of records (CSV, TSV, JSON, JSON lines, parquet, XLSX, archives of JSON), read without a data frame."""
