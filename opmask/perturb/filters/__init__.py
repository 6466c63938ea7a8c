"""The photo filters, as exact programs of tables and matrices."""
