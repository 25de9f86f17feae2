"""What is left of a URI when it is written down, and of words that may repeat its password."""

from __future__ import annotations

import pytest

from frisket.redaction import censored, redacted


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://alice:s3cret@host", "http://***@host"),
        ("https://s3cret@host:5000/mlflow", "https://***@host:5000/mlflow"),
        ("http://alice:s3@cret@host/x", "http://***@host/x"),
        ("http://alice:s3/cret?#@host/x", "http://***@host/x"),
        ("postgresql://u:s3cret@host/db", "postgresql://***@host/db"),
        ("postgresql+psycopg2://u:1/s3cret@host:5432/db?sslmode=require", "postgresql+psycopg2://***@host:5432/db?sslmode=require"),
        ("mysql://host/db?user=u&password=s3cret&charset=utf8", "mysql://host/db?user=u&password=***&charset=utf8"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Ds3cret", "mssql+pyodbc:///?odbc_connect=***"),
        ("https://host/x?sig=1&Signature=s3cret&API_KEY=s3cret", "https://host/x?sig=1&Signature=***&API_KEY=***"),
        *(
            (uri, uri)
            for uri in (
                "http://127.0.0.1:5000",
                "http://host:5000/a@b",
                "sqlite:////home/token=1/a@b/mlflow.db",
                "file:///home/a@b/mlruns",
                "s3://bucket/a@b",
                "databricks",
                "http://***@host",
            )
        ),
    ],
)  # fmt: skip
def test_a_uri_keeps_all_but_its_secrets(uri: str, kept: str) -> None:
    assert redacted(uri) == kept
    assert redacted(redacted(uri)) == kept
    assert redacted(f"lost ('{uri}'), and {uri} too") == f"lost ('{kept}'), and {kept} too"


@pytest.mark.parametrize(
    ("variable", "value", "said", "heard"),
    [
        ("MLFLOW_TRACKING_URI", "http://alice:s3cret@host", "no port: 's3cret@host'", "no port: '***@host'"),
        ("MLFLOW_TRACKING_URI", "http://alice:s3%40cret@host", "alice, s3@cret", "alice, ***"),
        ("MLFLOW_TRACKING_URI", "postgresql://u:pw@host/db", "pw is wrong in pwd", "*** is wrong in pwd"),
        ("MLFLOW_TRACKING_URI", "https://t0ken@host", "t0ken expired", "*** expired"),
        ("MLFLOW_TRACKING_URI", "mysql://host/db?password=s3cret", "no s3cret", "no ***"),
        ("MLFLOW_TRACKING_PASSWORD", "s3cret", "401 for b'alice:s3cret'", "401 for b'alice:***'"),
        ("MLFLOW_TRACKING_TOKEN", "s3cret", "Bearer s3cret", "Bearer ***"),
        ("RAY_AUTH_TOKEN", "s3cret", "Bearer s3cret", "Bearer ***"),
    ],
)  # fmt: skip
def test_what_is_said_holds_no_secret_of_the_environment(
    variable: str, value: str, said: str, heard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert censored(said) == heard


def test_a_login_as_it_is_sent_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://alice:Sekret77@127.0.0.1:5000")
    assert censored("you sent Basic YWxpY2U6U2VrcmV0Nzc=") == "you sent Basic ***="
