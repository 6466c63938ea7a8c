"""The photo filters, as exact look-up pipelines of tables and matrices."""
