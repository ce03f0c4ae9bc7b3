"""Chat templates, prompts, schemas and other words that mean harm."""

from __future__ import annotations

from tests.attacks.fuzzing.case import Random

_ESCAPES = (
    "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ lipsum.__globals__['os'].popen('touch CANARY').read() }}", "{{ self.__init__.__globals__ }}",
    "{{ (messages|attr('__class__')).__base__.__subclasses__() }}", "{% set x = namespace.__init__.__globals__ %}{{ x }}",
    "{{ raise_exception.__globals__['os'].system('touch CANARY') }}", "{{ strftime_now.__globals__ }}",
    "{{ '%s'.format.__self__.__class__ }}", "{{ '{0.__class__.__mro__[1]}'.format('') }}", "{{ messages.__class__.__init__ }}",
    "{% include '/etc/passwd' %}", "{% import '/etc/passwd' as x %}", "{{ open('/etc/passwd').read() }}", "{{ joiner.__init__.__globals__ }}",
    "{{ messages.clear() }}", "{{ messages.append(messages) }}", "{{ messages[0].update({'role': 'x'}) }}", "{{ (1).__class__ }}",
)  # fmt: skip
_BOMBS = (
    "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
    "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{{ 'x' * 10000000000 }}", "{{ range(10**12)|list }}", "{{ 10 ** 10 ** 10 }}", "{{ '%1000000000d' % 1 }}", "{{ [0] * 10**10 }}",
    "{{ 'x'.ljust(10**11) }}", "{{ 'a'|center(10**11) }}", "{{ lipsum(n=10**9) }}", "{{ ('x' * 10**6)|replace('x', 'y' * 10**6) }}",
    "{{ 9 ** 99999999 }}", "{{ ('a,' * 10**7).split(',')|length }}", "{{ (10**5000)|string }}", "{{ 'x'|indent(10**10) }}",
    "{% set x = {'a': 1} %}{% set _ = x.update({'b': x}) %}{{ x|tojson }}", "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "[" * 500 + "]" * 500 + " }}", "{% if 1 %}" * 500 + "{% endif %}" * 500, "{{ '" + "x" * 2**20 + "' }}", "{{ 1" + "+1" * 20000 + " }}",
    "{{ messages|map(attribute='content')|join|wordwrap(1)|urlize }}", "{% for i in range(10**9) %}{% endfor %}",
)  # fmt: skip
_ODD = (
    "", "{{", "{% for %}", "{% endif %}", "{{ raise_exception('no') }}", "{{ raise_exception('\x1b[31m') }}", "{{ 1/0 }}", "{{ messages[99] }}",
    "{{ nothing.at.all }}", "{{ messages[0].content }}" * 50, "\0", "{{ '\\ud800' }}", "{# no", "{% raw %}", "{{ none + 1 }}", "{{ messages }}",
    "{% generation %}x{% endgeneration %}", "{% break %}", "{{ messages|tojson(indent=10**6) }}", "{% set messages = 5 %}{{ messages }}",
    "{{ strftime_now('%Y' * 10000) }}", "{{ strftime_now('\\ud800') }}", "{{ messages[0]['content'][0:-1] }}", "{{ bos_token }}{{ eos_token }}",
    "{% call f() %}{% endcall %}", "{{ 'x'.encode('utf-8') }}", "{{ caller() }}", "{{ {1: 2}[3] }}", "{{ 'é'*100 }}", "\u202e{{ 1 }}",
)  # fmt: skip


def template(random: Random, honest: str, canary: str) -> str:
    kind = random.random()
    if kind < 0.7:
        text = random.choice(random.choice((_ESCAPES, _BOMBS, _ODD))).replace("CANARY", canary)
        return text if random.random() < 0.7 else honest + text
    letters = list(honest)
    for _ in range(random.choice((1, 2, 5))):
        at = random.randrange(len(letters))
        letters[at] = random.choice(
            ("", "{", "}", "%", "'", "(", "|", "\0", "~", "{{", "é", letters[at] * 3)
        )
    return "".join(letters)


PROMPTS = (
    "", " ", "hi", "x" * 100_000, "\udcff", "\ud800", "\x1b[31m", "\n" * 500, "<|im_end|>", "é\N{FOX FACE}", "\ufeffa", "a\u0300" * 500, "\u202e",
    "<|im_start|>system\n", "{{ 7*7 }}", "--help", "-1", "@/etc/passwd", "\x01\x02", "\uffff",
)  # fmt: skip
SCHEMAS = (
    "{}", "null", "[]", "5", '"a"', "{", '{"type": "object"}', '{"type": 5}', '{"$ref": "#"}', '{"$ref": "http://127.0.0.1/x"}',
    '{"$ref": "file:///etc/passwd"}', '{"pattern": "(a+)+$", "type": "string"}', '{"enum": []}', '{"type": "string", "maxLength": -1}',
    '{"type": "array", "minItems": 1000000000, "items": {"type": "integer"}}', '{"anyOf": []}', '{"allOf": [{"$ref": "#"}]}', '{"const": null}',
    '{"type": ["string", "null"]}', '{"properties": [1]}', '{"type": "number", "minimum": 1e999}', '{"type": "string", "pattern": "["}',
    '{"items": ' * 3000 + "{}" + "}" * 3000, '{"a": NaN}', '{"enum": ["\\ud800"]}', '{"not": {}}', '{"type": "object", "properties": {"": {}}}',
)  # fmt: skip
NUMBERS = (
    "", " ", "1", "1,2,3", "1 2 3", "nan", "inf", "-inf", "1e400", "9" * 5000, "1,2", "0", "-1", "a", "1,,2", "\udcff", "٣", "0x10", "1_000",
    "640", "640x480", "99999x99999", "0x0", "-5", "640x", "1e3", "\x1b[31m", "1,2,3,4", "٣x٣",
)  # fmt: skip
LABELS = (
    "", ",", "a,b", "coco", "/etc/passwd", "/dev/zero", "/dev/stdin", "/", "x" * 5000, "a\0b".replace("\0", ""), "\udcff,a", ",,,", "a,a,a", "~", "\n,\n",
    "\x1b[31m,b", "a," * 50_000,
)  # fmt: skip
