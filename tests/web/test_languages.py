"""A third language is a folder of catalogues in the data folder, nothing more."""

from __future__ import annotations

from pathlib import Path

import httpx

from core.web import compiled_catalogues, i18n
from tests.conftest import Start

HEAD = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"
"""


def drop(home: Path, language: str, **words: str) -> None:
    folder = home / "locales" / language / "LC_MESSAGES"
    folder.mkdir(parents=True)
    entries = "".join(f'\nmsgid "{text.replace("_", " ")}"\nmsgstr "{said}"\n' for text, said in words.items())
    (folder / "messages.po").write_text(HEAD + entries)


def test_a_language_is_added_by_dropping_a_folder(start: Start, tmp_path: Path):
    drop(tmp_path, "de", Find_an_order="Bestellung finden", Search_products="Waren suchen")
    drop(tmp_path, "nosuchlanguage", Search_products="never shown")
    shop = start("web", "--no-demo", VOUCHSAFE_HOME=str(tmp_path))
    with httpx.Client(base_url=shop.url, headers={"accept-language": "de-AT,en;q=0.5"}) as german:
        page = german.get("/lookup").text
        assert '<html lang="de"' in page and "Waren suchen" in page and "Bestellung finden" in page
        assert "Skip to the content" in page  # what is not translated is English
        assert all(f">{name}</button>" in page for name in ("简体中文", "English", "Deutsch"))
        assert "nosuchlanguage" not in page
    with httpx.Client(base_url=shop.url, headers={"accept-language": "zh", "origin": shop.url}) as visitor:
        assert "Waren suchen" not in visitor.get("/lookup").text
        chosen = visitor.post("/preferences", data={"language": "de", "next": "/lookup"})
        assert chosen.status_code == 303 and "lang=de" in chosen.headers["set-cookie"]
        assert "Waren suchen" in visitor.get("/lookup").text
        assert visitor.post("/preferences", data={"language": "nosuchlanguage"}).status_code == 422


def test_the_nearest_of_the_languages_is_chosen(tmp_path: Path):
    drop(tmp_path, "pt_BR")
    drop(tmp_path, "zh_TW")
    try:
        i18n.load([i18n.FOLDER, tmp_path / "locales"])
        assert i18n.known("zh-TW") == "zh_TW" and i18n.known("zh-HK") == "zh_CN" and i18n.known("pt-PT") == "pt_BR"
        assert i18n.accepted("fr, zh-TW;q=0.9, en;q=0.8") == "zh_TW"
        assert i18n.html_lang("pt_BR") == "pt-BR" and i18n.NAMES["pt_BR"] == "Português (Brasil)"
        with i18n.speaking("pt_BR"):
            assert i18n.in_words({"zh-CN": "你好", "en": "Hello"}) == "Hello"
            assert i18n.gettext("Skip to the content") == "Skip to the content"
    finally:
        i18n.load([i18n.FOLDER])
    assert i18n.LOCALES == ["zh_CN", "en"] and list(i18n.NAMES) == ["zh_CN", "en"]


def test_a_catalogue_is_compiled_once_and_again_when_it_says_something_else(tmp_path: Path):
    drop(tmp_path, "de", Search_products="Waren suchen")
    source = tmp_path / "locales/de/LC_MESSAGES/messages.po"
    first = compiled_catalogues.read(source, "de", keep=True)
    (kept,) = source.parent.glob("__pycache__/*.mo")
    assert kept.read_bytes() == first and b"Waren suchen" in first
    stamp = kept.stat().st_mtime_ns
    assert compiled_catalogues.read(source, "de", keep=True) == first and kept.stat().st_mtime_ns == stamp

    source.write_text(source.read_text().replace("Waren suchen", "Produkte suchen"))
    assert b"Produkte suchen" in compiled_catalogues.read(source, "de", keep=True)
    assert [path.name for path in source.parent.glob("__pycache__/*")] != [kept.name]
    assert len([*source.parent.glob("__pycache__/*")]) == 1


def test_where_nothing_may_be_kept_it_is_read_all_the_same(tmp_path: Path):
    drop(tmp_path, "de", Search_products="Waren suchen")
    source = tmp_path / "locales/de/LC_MESSAGES/messages.po"
    (source.parent / "__pycache__").write_text("a file stands where the folder would be")
    assert b"Waren suchen" in compiled_catalogues.read(source, "de", keep=True)
