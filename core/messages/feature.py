from pathlib import Path

from core.messages import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="messages",
    folder=Path(__file__).parent,
    console_routes=[
        console.message_list,
        console.message_page,
        console.send,
        console.send_all,
        console.text_list,
        console.text_page,
        console.edit_text,
        console.reset_text,
    ],
    nav=[Nav(_("Messages"), "/admin/messages", "mail", group="sales", right="messages.read", order=130)],
)
