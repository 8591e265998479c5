"""Syntaxes of placeholders, by the ecosystems that use them: what the scanner, its tests and the documentation read."""

from dataclasses import dataclass
from typing import Literal

# `sign`: the pattern matches a placeholder in running text. `braces`: it matches a pair of braces as a whole.
# `nested`: it matches the beginning of a pair of braces, whatever is in them.
Form = Literal["sign", "braces", "nested"]


@dataclass(frozen=True)
class Syntax:
    """One way to write a placeholder. Of two syntaxes that match at one place, the earlier one in the table wins.

    `pattern`: a regular expression that takes linear time in the length of any text. `prose`: whether prose looks
    like it now and then; then it is kept where a source has it, and not removed where a translation has it.
    """

    name: str
    users: str
    form: Form
    pattern: str
    examples: tuple[str, ...]
    prose: bool = False
    limit: str = ""


_FLAGS = r"[#0+'-]*+(?:\*(?:\d{1,2}\$)?|\d{1,9})?(?:\.(?:\*(?:\d{1,2}\$)?|\d{0,9}))?"
_SIZE = r"(?:I64|I32|I|hh|h|ll|l|L|q|j|z|t)?"
_CONVERSION = r"(?:[diouxXeEfFgGaAcpnsSCvqwbtTUYmHMByZI@](?![^\W\d_])|[sdu])"
_PRINTF = _FLAGS + _SIZE + _CONVERSION
_NAME = r"[A-Za-z_][A-Za-z0-9_]*+"
_VALUE = r"""(?:"[^"<\n]{0,1000}"|'[^'<\n]{0,1000}'|[^\s<>"'=]{1,200})"""
_ATTRIBUTE = rf"(?:\s+[\w:.@-]{{1,60}}\s*=\s*{_VALUE})"
_NOT_PERCENT = r"(?<!\d)(?<!\d[ \u00a0\u202f])"

SYNTAXES = (
    Syntax(
        "ICU argument",
        "ICU MessageFormat, FormatJS, Java, Flutter",
        "nested",
        r"\{\s*[\w.-]{1,100}\s*,\s*"
        r"(?:plural|select|selectordinal|number|date|time|choice|duration|spellout|ordinal|list)\b",
        (
            "{count, number}",
            "{ when , date , long }",
            "{0,number,#.##}",
            "{n, plural, =0 {no files} one {# file} other {# files}}",
            "{g, select, female {{n, plural, one {her file} other {her # files}}} other {{n} '{'files'}'}}",
        ),
        limit="The texts inside are kept as well: each language has its own plural forms.",
    ),
    Syntax(
        "mustache",
        "Mustache, Handlebars, Angular, Vue, i18next, Jinja, Twig, Liquid",
        "nested",
        r"\{\{",
        (
            "{{name}}",
            "{{ value, number }}",
            "{{{raw}}}",
            "{{ user.name | upper }}",
            "{{#each items}}",
            "{{ f({a: 1}) }}",
        ),
        limit="Whatever is in the braces, prose as well.",
    ),
    Syntax(
        "template tag",
        "Jinja, Django, Twig, Liquid, Laravel Blade, Svelte",
        "nested",
        r"\{(?:%|!!|[#:/@][A-Za-z ])",
        ("{% if a %}", "{% trans 'x' %}", "{# note #}", "{!! $html !!}", "{#if user}", "{/if}", "{@html text}"),
    ),
    Syntax(
        "Fluent placeable",
        "Fluent, Smarty, PHP",
        "nested",
        r"\{\s*(?:\$[A-Za-z_]|-[A-Za-z]|[A-Z][A-Z0-9_-]{0,40}\()",
        (
            "{ $name }",
            "{$name}",
            "{ -brand-name }",
            '{ -brand(case: "genitive") }',
            "{ NUMBER($n, minimumFractionDigits: 2) }",
            "{ $n -> [one] a file *[other] { $n } files }",
        ),
    ),
    Syntax(
        "marked braces",
        "shells, JavaScript, GitHub Actions, Java, Rails, Ruby, Less",
        "nested",
        r"[$%#@]\{",
        ("${x}", "${path:-/tmp}", "${{ matrix.os }}", "%{name}", "#{x}", "@{x}"),
    ),
    Syntax("Fluent literal", "Fluent", "braces", r'\{\s*"[^"{}\n]{0,200}"\s*\}', ('{ "" }', '{ " text" }')),
    Syntax(
        "field",
        "Python, .NET, Rust, Java, C++",
        "braces",
        r"\{[\w.\-\[\]]{0,100}(?:![a-z])?(?:,-?\d{1,4})?(?::(?! )(?:[^{}\n]|\{[\w.]{0,50}\}){0,100})?\}",
        ("{}", "{0}", "{0:.2f}", "{user.name!r:>10}", "{0,-10:N2}", "{when:dd.MM.yyyy HH:mm}", "{x:{width}.2f}"),
        limit="A single word in braces is one; several words, and a space after the colon, are prose.",
    ),
    Syntax(
        "name in braces",
        "Vue I18n, React, Svelte, Fluent",
        "braces",
        r"\{\s{0,20}[\w.\-\[\]!:<>^+,#$@/]{1,100}\s{0,20}\}",
        ("{name}", "{ name }", "{ user.name }", "{item[0]}"),
    ),
    Syntax(
        "text tag",
        "Ren'Py",
        "braces",
        r"\{/?[a-z]{1,20}=[^{}\s]{1,200}\}",
        ("{color=#f00}", "{w=0.5}", "{a=https://example.org/x}"),
    ),
    Syntax("percent sign", "printf", "sign", r"%%", ("%%",)),
    Syntax(
        "named printf",
        "Python, Ruby, Go, sprintf-js",
        "sign",
        rf"%(?:\([\w. -]{{1,100}}\)|<[\w.]{{1,60}}>|\[[\w.]{{1,60}}\]){_FLAGS}{_SIZE}[a-zA-Z]",
        ("%(name)s", "%(total).2f", "%<name>s", "%<price>05.1f", "%[name]s", "%[1]d"),
    ),
    Syntax(
        "stringsdict variable",
        "Apple",
        "sign",
        rf"%(?:\d{{1,2}}\$)?#@{_NAME}@",
        ("%#@files@", "%1$#@files@"),
    ),
    Syntax("FormatMessage insert", "Windows", "sign", r"%\d{1,2}![\w.#*-]{1,20}!", ("%1!s!", "%2!08lx!")),
    Syntax(
        "name between percent signs",
        "Symfony, WordPress, Windows",
        "sign",
        rf"{_NOT_PERCENT}%(?!(?:hh|h|ll|l|L|q|j|z|t)[diouxXeEfFgGaAcspn]%)[A-Za-z_][\w.-]{{1,60}}(?:\(\w{{1,20}}\))?%(?!\w)",
        ("%name%", "%product_title%", "%user.name%", "%APPDATA%", "%ProgramFiles(x86)%"),
        limit="Not right after a digit, and not names of one letter.",
    ),
    Syntax(
        "name after a percent sign",
        "Drupal",
        "sign",
        rf"(?<!\w){_NOT_PERCENT}(?:%[a-z][a-z0-9_]{{2,60}}(?:-[a-z0-9_]{{1,60}}){{0,5}})+(?!\w)",
        ("%name", "%machine_name", "%user-name"),
        limit="At least three lower-case letters, and not after a number: `5 %ige`.",
    ),
    Syntax(
        "printf",
        "C, C++, PHP, Perl, Go, Android, Apple, Qt's %n, strftime",
        "sign",
        rf"%(?:\d{{1,3}}\$)?(?:{_FLAGS}{_SIZE}[diouxXeEfFgGaAcpnsSCvqwbtTUYmHMByZI@](?![^\W\d_])"
        rf"|(?<!\d%)(?<!\d[ \u00a0\u202f]%){_PRINTF}|(?<=\$){_PRINTF})",
        ("%s", "%d", "%.2f", "%-10s", "%1$s", "%1$@", "%@", "%ld", "%I64d", "%zu", "%*d", "%1$*2$d", "%n", "%Y"),
        limit="Without the space flag: in `5 % der` and `100% sure`, % is a sign. After a number, no letter follows.",
    ),
    Syntax(
        "Boost directive",
        "Boost.Format",
        "sign",
        r"(?<!\d)%(?:\d{1,2}%(?!\w)|\|[^|\s]{1,20}\|)",
        ("%1%", "%|1$+5|"),
    ),
    Syntax(
        "Qt marker",
        "Qt",
        "sign",
        r"(?<!\w)(?:(?:%L?\d{1,2})+|%Ln)(?!\w)",
        ("%1", "%L1", "%Ln", "%1%2"),
        limit="Not right after a letter or digit.",
    ),
    Syntax(
        "entity",
        "HTML, XML, DocBook",
        "sign",
        r"&(?:[A-Za-z][\w.-]{0,50}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});",
        ("&kde;", "&nbsp;", "&#8217;"),
        limit="As text; in HTML and XML, those known are read as the characters that they are.",
    ),
    Syntax(
        "nested translation",
        "i18next",
        "sign",
        r"(?<![\w$])\$t\([^()\n]{1,200}\)",
        ("$t(common.save)", '$t(key, {"count": 1})'),
    ),
    Syntax(
        "name between dollar signs",
        "StringTemplate, InstallShield",
        "sign",
        r"(?<![\w$])(?:\$[A-Za-z_][\w.-]{0,60}\$)+(?![\w$])",
        ("$name$", "$user.name$"),
        prose=True,
    ),
    Syntax(
        "name after a dollar sign",
        "PHP, shells, Perl, Velocity, Chrome",
        "sign",
        rf"(?<![\w$])(?:\${_NAME}(?:->{_NAME}|\[\w{{1,20}}\]){{0,5}})++(?!\w)",
        ("$name", "$USER", "$user->name", "$a[0]"),
        prose=True,
        limit="Not with a digit: `$5` is a price.",
    ),
    Syntax(
        "name between underscores",
        "Chrome, Rails, build scripts",
        "sign",
        r"(?<!\w)(?:__[A-Za-z0-9]{1,60}(?:_[A-Za-z0-9]{1,60}){0,10}__)+(?!\w)",
        ("__NAME__", "__MSG_app_name__", "__init__"),
    ),
    Syntax(
        "name in double brackets",
        "MODX, wikis, mail templates",
        "sign",
        r"\[\[[^\[\]\n]{1,200}\]\]",
        ("[[name]]", "[[+user.name]]"),
        limit="The text of a wiki's link as well.",
    ),
    Syntax(
        "name in brackets",
        "Ren'Py, BBCode",
        "sign",
        r"(?:(?<!\w)|(?=\[/))\[/?[a-z_][A-Za-z0-9_.]{0,60}(?:\[\w{1,20}\])?(?:=[^\[\]\s]{1,200})?(?:![a-z]{1,4})?\](?!\()",
        ("[name]", "[player.name!t]", "[b]", "[/b]", "[url=https://example.org]"),
        prose=True,
        limit="Also a lower-case word of ASCII letters alone in brackets, such as `[sic]`.",
    ),
    Syntax(
        "interpolation of Swift",
        "Swift",
        "sign",
        r"\\\([\w.]{1,60}\)",
        (r"\(name)", r"\(user.name)"),
    ),
    Syntax(
        "colon and name",
        "Laravel, SQL, Doctrine",
        "sign",
        # An emoji's name is kept with its second colon.
        rf"(?<![\w:)\]}}%]):(?:[a-z0-9_+-]{{2,40}}:(?!\w)|{_NAME}(?::{_NAME})*+(?!\w))",
        (":name", ":COUNT", ":Attribute", ":smile:", ":+1:"),
        prose=True,
        limit="ASCII letters, and no letter, digit or closing bracket before: not `Achtung:Strom`, `12:30`.",
    ),
    Syntax(
        "at sign and name",
        "Drupal",
        "sign",
        r"(?<![\w.+%@/-])(?:@[A-Za-z_]\w*+(?:-[a-z0-9_]{1,60}){0,5})+(?!\w)",
        ("@name", "@site-name", "@count"),
        prose=True,
        limit="Names of people, too.",
    ),
    Syntax(
        "exclamation mark and name",
        "Drupal",
        "sign",
        r"(?<![\w!?.)\]}%])(?:![a-z_][a-z0-9_]{1,60}(?:-[a-z0-9_]{1,60}){0,5})+(?!\w)",
        ("!name", "!block-list"),
        prose=True,
        limit="Lower-case ASCII letters.",
    ),
    Syntax(
        "embedded code",
        "ERB, EJS, ASP, JSP",
        "sign",
        r"<%(?:[^%<\n]|%(?!>)){0,300}%>",
        ("<%= name %>", "<% if x > 1 %>"),
    ),
    Syntax(
        "tag in text",
        "HTML, Android, react-i18next, Unity",
        "sign",
        rf"</?(?:[A-Za-z][\w:.-]{{0,60}}+{_ATTRIBUTE}{{0,30}}+|\d{{1,3}})\s*/?>|<[a-z]{{1,20}}=[^\s<>]{{1,200}}>|<<[\w.-]{{1,60}}>>",
        ("<name>", "</b>", "<br/>", '<a href="x?a=1">', "<0>", "</0>", "<sprite=1>", "<<name>>"),
        prose=True,
        limit="In HTML and XML only as `&lt;name&gt;`, for a tag is markup.",
    ),
)
