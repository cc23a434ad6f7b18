"""The one reading of prompt rows, whatever file or data set they come from, and the one selection among them."""

from nemo_skills_specdec.prompts.rows.files import SUFFIXES, is_prompt_file, prompt_file_stem, read_records
from nemo_skills_specdec.prompts.rows.reading import ReadRows, read_rows, rows_of
from nemo_skills_specdec.prompts.rows.select import first_of_each, select
from nemo_skills_specdec.prompts.rows.shapes import ParsedRow, columns_of, row_of

__all__ = [
    "SUFFIXES",
    "ParsedRow",
    "ReadRows",
    "columns_of",
    "first_of_each",
    "is_prompt_file",
    "prompt_file_stem",
    "read_records",
    "read_rows",
    "row_of",
    "rows_of",
    "select",
]
