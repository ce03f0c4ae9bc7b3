"""Language models as graphs of fixed sizes, for compilers that know no others."""
