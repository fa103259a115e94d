"""Workbooks and tables as spreadsheet programs leave them: read right, or refused with the cell named."""

import zipfile
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import DataError
from evalkit.importers import read_answers
from evalkit.records.cells import calculates, cell_number, control_decoded, decoded, table_problem

_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    '<Override PartName="/xl/styles.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
)
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
# Styles of the cells: their place in this list, with the number formats of Excel.
FORMATS = ["General", "0%", "000", "#,##0", "# ?/?", "0.00E+00", '0 "cm"', "0.00", "d-mmm"]


def cell(name, value, style=0):
    """A cell's XML: text inline, number, ("f", formula, stored, kind) or ("e", error)."""
    if isinstance(value, str):
        return f'<c r="{name}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    if isinstance(value, tuple) and value[0] == "f":
        _, formula, stored, kind = value
        inside = "" if stored is None else f"<v>{escape(str(stored))}</v>"
        return f'<c r="{name}" s="{style}" t="{kind}"><f>{escape(formula)}</f>{inside}</c>'
    if isinstance(value, tuple):
        return f'<c r="{name}" t="e"><v>{value[1]}</v></c>'
    return "" if value is None else f'<c r="{name}" s="{style}"><v>{value}</v></c>'


def workbook(path, rows, styles=None, *, recalculates=False, dimension=None):
    """A workbook with one sheet, written by hand, so that it has what no library writes on purpose.

    rows: None is an absent row.  styles: {cell name: index in FORMATS}.
    """
    lines = []
    for r, row in enumerate(rows, 1):
        if row is not None:
            names = [f"{'ABCDEFG'[c]}{r}" for c in range(len(row))]
            cells = (cell(n, v, (styles or {}).get(n, 0)) for n, v in zip(names, row, strict=True))
            lines.append(f'<row r="{r}">{"".join(cells)}</row>')
    extent = f'<dimension ref="{dimension}"/>' if dimension else ""
    formats = "".join(f'<numFmt numFmtId="{200 + i}" formatCode="{escape(f, {chr(34): "&quot;"})}"/>'
                      for i, f in enumerate(FORMATS))  # fmt: skip
    xfs = "".join(f'<xf numFmtId="{200 + i if i else 0}" applyNumberFormat="1"/>' for i in range(len(FORMATS)))
    calc = '<calcPr fullCalcOnLoad="1"/>' if recalculates else ""
    parts = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{_RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATION}"><sheets>'
        f'<sheet name="S" sheetId="1" r:id="r1"/></sheets>{calc}</workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        f'relationships"><Relationship Id="r1" Type="{_RELATION}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="r2" Type="{_RELATION}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><numFmts count="{len(FORMATS)}">{formats}</numFmts><fonts>'
        "<font/></fonts><fills><fill><patternFill/></fill></fills><borders><border/></borders><cellStyleXfs><xf/></cellStyleXfs>"
        f'<cellXfs count="{len(FORMATS)}">{xfs}</cellXfs></styleSheet>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}">{extent}<sheetData>{"".join(lines)}</sheetData>'
        "</worksheet>",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


HEADER = ["id", "question", "prediction"]


@pytest.fixture(autouse=True)
def _needs_openpyxl():
    pytest.importorskip("openpyxl")


def answer(tmp_path, value, style=0, **more):
    """The text of the only answer of a workbook."""
    path = workbook(tmp_path / "a.xlsx", [HEADER, [1, "Is it?", value]], {"C2": style}, **more)
    return read_answers(path).answers[0].text


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        ("Yes_x000D_\n", 0, "Yes\r\n"),
        ("a_x000B_b", 0, "a\x0bb"),
        ("_x005F_x000D_", 0, "_x000D_"),
        ("snake_x_case _xZZZZ_", 0, "snake_x_case _xZZZZ_"),
        ("line\u2028line", 0, "line\u2028line"),
        ("2-Jan", 0, "2-Jan"),
        (3, 0, "3"),
        (3.0, 7, "3"),
        (0.5, 7, "0.5"),
        (0.5, 1, "50%"),
        (7, 2, "007"),
        (1234, 3, "1,234"),
        (0.5, 4, "1/2"),
        (1.5, 4, "1 1/2"),
        (("f", "TRIM(B2)", "Yes", "str"), 0, "Yes"),
        (("f", "1+2", 3, "n"), 0, "=1+2"),
        (("f", "left lobe", None, "n"), 0, "=left lobe"),
        (("f", "left lobe", 0, "n"), 0, "=left lobe"),
    ],
)
def test_a_cell_is_read_as_what_was_written(tmp_path, value, style, text):
    assert answer(tmp_path, value, style) == text


@pytest.mark.parametrize(
    ("value", "style", "more", "words"),
    [
        (("e", "#N/A"), 0, {}, "cell C2 holds the error value #N/A"),
        (("f", "VLOOKUP(A2,B:B,1)", "#REF!", "e"), 0, {}, "error value #REF!"),
        (("f", "TRIM(B2)", None, "n"), 0, {}, r"cell C2 holds the formula '=TRIM\(B2\)' without a stored result"),
        (("f", "B2", 0, "n"), 0, {"recalculates": True}, "without a stored result"),
        (46024, 8, {}, r"column 'prediction': the spreadsheet has converted this cell to a date .*cell C2"),
        (0.000012, 5, {}, "cell C2 holds the number 1.2e-05 in the format"),
        (5, 6, {}, "cell C2 holds the number 5 in the format"),
        (12345678901234567890, 0, {}, "cell C2 holds a number of more than 15 digits"),
    ],
)
def test_a_cell_that_lost_its_text_is_refused_by_name(tmp_path, value, style, more, words):
    with pytest.raises(DataError, match=words):
        answer(tmp_path, value, style, **more)


def test_a_bad_cell_in_a_column_that_is_not_read_does_no_harm(tmp_path):
    rows = [[*HEADER, "scored"], [1, "Is it?", "yes", ("e", "#DIV/0!")]]
    assert read_answers(workbook(tmp_path / "a.xlsx", rows)).answers[0].text == "yes"


def test_formulas_are_noted_with_their_first_cell(tmp_path):
    path = workbook(tmp_path / "a.xlsx", [HEADER, [1, "Is it?", ("f", "TRIM(B2)", "Yes", "str")]])
    assert any("1 cells hold formulas and were read by their stored results, first C2" in n
               for n in read_answers(path).notes)  # fmt: skip


def test_two_equal_columns_are_refused(tmp_path):
    for header in (["id", "prediction", "prediction"], ["id", "prediction", " prediction "]):
        with pytest.raises(DataError, match="'prediction' more than once"):
            read_answers(workbook(tmp_path / "a.xlsx", [header, [1, "yes", "no"]]))
    for header in (
        ["index", "question", "prediction", "prediction.1"],
        ["index", "question", "prediction", "Prediction"],
    ):
        with pytest.raises(DataError, match=r"look like one column|could each be the prediction"):
            read_answers(workbook(tmp_path / "a.xlsx", [header, [1, "Is it?", "yes", "no"]]))


def test_blank_rows_a_late_header_and_a_wrong_extent_lose_no_answer(tmp_path):
    rows = [None, ["", None, " "], HEADER, [1, "Is it?", "yes"], [None, "", " "], None, [2, "Where?", "left"]]
    for extent in (None, "A1", "A1:B2"):
        file = read_answers(workbook(tmp_path / "a.xlsx", rows, dimension=extent))
        assert [(a.row, a.id, a.text) for a in file.answers] == [(4, "1", "yes"), (7, "2", "left")]


def test_a_damaged_workbook_and_other_sheets_are_refused(tmp_path):
    path = workbook(tmp_path / "a.xlsx", [HEADER, [1, "Is it?", "yes"]])
    with zipfile.ZipFile(path) as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content[: len(content) // 2] if "sheet1" in name else content)
    with pytest.raises(DataError, match="not a readable workbook"):
        read_answers(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", "<a/>")
    with pytest.raises(DataError, match="OpenDocument"):
        read_answers(path)
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600)
    with pytest.raises(DataError, match=r"old \.xls format"):
        read_answers(path)


def csv_file(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("sep=,\nid,question,prediction\n1,Is it?,yes\n2,Where?,left lobe\n", "utf-8"),
        ("sep=;\r\nid;question;prediction\r\n1;Is it?;yes\r\n2;Where?;left lobe\r\n", "utf-8-sig"),
        ('"sep=|"\nid|question|prediction\n1|Is it?|yes\n2|Where?|left lobe\n', "utf-8"),
        ("SEP=\\t\nid\tquestion\tprediction\n1\tIs it?\tyes\n2\tWhere?\tleft lobe\n", "utf-16"),
        ("id|question|prediction\n1|Is it?|yes\n2|Where?|left lobe\n", "utf-8"),
        ("id;question, in full, as asked;question;prediction\n1;x;Is it?;yes\n2;x;Where?;left lobe\n", "utf-8"),
        ("id\tquestion\tprediction\r1\tIs it?\tyes\r2\tWhere?\tleft lobe\r", "utf-8"),
        ("\n,,\nid,question,prediction\n1,Is it?,yes\n,,\n\n2,Where?,left lobe\n , ,\n", "utf-8"),
        ('"id","question","prediction"\n"1","Is it?","yes"\n"2.0","Where?","left lobe"\n', "utf-8"),
    ],
)
def test_tables_of_every_dialect_are_read_alike(tmp_path, content, encoding):
    file = read_answers(csv_file(tmp_path, content, encoding))
    assert [(a.question, a.text) for a in file.answers] == [("Is it?", "yes"), ("Where?", "left lobe")]


def test_line_breaks_separators_and_unicode_lines_stay_inside_their_cell(tmp_path):
    odd = "left\u2028lobe\x0b\x0c\x85 a, b; c\nline\r\nend"
    file = read_answers(csv_file(tmp_path, f'id,prediction\n1,"{odd}"\n2,yes\n'))
    assert [a.text for a in file.answers] == [odd, "yes"]


@pytest.mark.parametrize("text", ["#N/A", "#NAME?", "#REF!", "#DIV/0!", "########", "2-Jan", "Jan-02", "1.23E+11"])
def test_what_a_spreadsheet_made_of_a_text_is_refused_in_csv_and_kept_in_json(tmp_path, text):
    with pytest.raises(DataError, match="line 3, column 'prediction' holds"):
        read_answers(csv_file(tmp_path, f"id,prediction\n1,yes\n2,{text}\n"))
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"id": 1, "prediction": "{text}"}}\n')
    assert read_answers(path).answers[0].text == text


def test_a_date_is_an_answer_where_the_reference_is_one(tmp_path):
    path = csv_file(tmp_path, "id,reference,prediction\n1,3 January,2-Jan\n")
    assert read_answers(path).answers[0].text == "2-Jan"
    for text in ("1-2", "May", "grade 1-2", "N/A", "E. coli", "12-lead", "T1-2"):
        assert table_problem(text, None) is None


def test_the_escapes_of_a_sheet_are_decoded_in_files_made_from_it(tmp_path):
    file = read_answers(csv_file(tmp_path, 'id,prediction\n1,"yes_x000D_\n"\n'))
    assert file.answers[0].text == "yes\r\n" and any("_x000D_" in n for n in file.notes)
    assert control_decoded("a_x0041_") == "a_x0041_" and decoded("a_x0041_") == "aA"


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda t: "_x" not in t))
def test_a_text_without_escapes_is_never_changed(text):
    assert decoded(text) == text == control_decoded(text)


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_a_whole_number_in_the_general_format_is_itself(number):
    assert cell_number(float(number), "General", "A1") == number == cell_number(number, "0", "A1")


def test_what_counts_as_a_calculation():
    assert all(map(calculates, ("=TRIM(C2)", "=$A$1", "=A1+1", "=SUM(A1:A3)", "=_xlfn.CONCAT(B2)", "=Sheet1!C3")))
    assert not any(map(calculates, ("=left lobe", "= 3 cm", "=", "==> no", "=1+2")))
