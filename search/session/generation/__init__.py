"""One search of number formats for the parts of a pipeline that makes pictures, from spec to run folder."""
