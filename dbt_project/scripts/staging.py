"""Write the staging layer from the contracts: ``_sources.yml``, ``_staging.yml`` and one ``stg_<table>.sql`` each.

Run it after a change of a contract: ``python dbt_project/scripts/staging.py``. A test compares what is
committed with what this would write. Does not belong here: any rule beyond leaving out deleted rows.
"""

from __future__ import annotations

from pathlib import Path

from orchestration.contracts import CONTRACTS, DERIVED, Contract, Pii

STAGING = Path(__file__).resolve().parent.parent / "models" / "staging"

_HEAD = "# Written by dbt_project/scripts/staging.py from orchestration/contracts: change those and run it again.\n"
_LOCATION = "read_parquet('{{ env_var('EXPERIENCE_HOME', '../var') }}/clean/{name}/*.parquet')"
_PII = {
    Pii.DIRECT: " Personal data, never published.",
    Pii.FREE_TEXT: " Free text, never published.",
    Pii.PSEUDONYM: " Pseudonym.",
    Pii.QUASI: " Quasi-identifier.",
}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def model_sql(contract: Contract) -> str:
    """SQL of the staging view: every column of the contract, rows that the source no longer has left out."""
    columns = ",\n".join(f"    {column.name}" for column in contract.all_columns)
    where = "\nwhere not is_deleted" if contract.is_source_table else ""
    return f"select\n{columns}\nfrom {{{{ src('{contract.name}') }}}}{where}\n"


def _model_yaml(contract: Contract) -> str:
    lines = [
        f"  - name: stg_{contract.name}",
        f"    description: {_quoted(f'{contract.grain}. {contract.description}')}",
        "    data_tests:",
        "      - unique_key:",
        f"          arguments: {{columns: [{', '.join(contract.key)}]}}",
        "    columns:",
    ]
    for column in contract.all_columns:
        lines += [
            f"      - name: {column.name}",
            f"        description: {_quoted(column.description + _PII.get(column.pii, ''))}",
        ]
    return "\n".join(lines)


def files() -> dict[str, str]:
    """Every file of the staging folder by name, as it should be."""
    tables = [*CONTRACTS.values(), *DERIVED.values()]
    result = {f"stg_{table.name}.sql": model_sql(table) for table in tables}
    sources = [
        _HEAD + "version: 2",
        "",
        "sources:",
        "  - name: clean",
        "    description: The clean layer, Parquet below $EXPERIENCE_HOME/clean; read it through src().",
        "    config:",
        "      meta:",
        f"        external_location: {_quoted(_LOCATION)}",
        "    tables:",
    ]
    for table in tables:
        sources += [f"      - name: {table.name}", f"        description: {_quoted(table.grain + '.')}"]
    result["_sources.yml"] = "\n".join(sources) + "\n"
    models = "\n\n".join(_model_yaml(table) for table in tables)
    result["_staging.yml"] = _HEAD + "version: 2\n\nmodels:\n" + models + "\n"
    return result


def main() -> None:
    """Write what is missing or different, remove what no contract names any more."""
    wanted = files()
    STAGING.mkdir(parents=True, exist_ok=True)
    for path in STAGING.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (STAGING / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
