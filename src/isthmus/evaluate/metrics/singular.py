"""The singular of an English noun by `pattern.en`'s rules (De Smedt and Daelemans, JMLR 13, 2012), oddities and all.

CHAIR's published figures rest on what these rules make of words: "bus" becomes "bu" and is no bus, "glass" becomes
"glas". The rules are those of version 3.6, which took them from B. Ferrer's Inflector. Left out is what cannot change
such a figure: compounds of a hyphen and a preposition ("mothers-in-law").
"""

from __future__ import annotations

import functools
import re

_SAME = """
    advice bison bread bream breeches britches butter carp chassis cheese christmas clippers cod contretemps corps
    debris diabetes djinn eland electricity elk equipment flounder fruit furniture gallows garbage georgia graffiti
    gravel happiness headquarters herpes high-jinks homework information innings jackanapes ketchup knowledge love
    luggage mackerel mathematics mayonnaise measles meat mews mumps mustard news pincers pliers proceedings progress
    rabies research rice salmon sand scissors series shears software species swine swiss trout tuna understanding
    water whiting wildebeest
"""
_IN_IE = """
    alergie auntie beanie birdie bogie bombie collie cookie cutie doggie eyrie freebie goonie groupie hankie hippie
    hoagie hottie indie junkie laddie laramie lingerie meanie newbie nightie oldie pixie quickie reverie rookie softie
    sortie stoolie sweetie techie toughie valkyrie veggie weenie yuppie zombie
"""
_IRREGULAR = """
    atlantes:atlas atlases:atlas axes:axe beeves:beef brethren:brother children:child corpora:corpus corpuses:corpus
    ephemerides:ephemeris feet:foot ganglia:ganglion geese:goose genera:genus genii:genie graffiti:graffito
    helves:helve kine:cow leaves:leaf loaves:loaf men:man mongooses:mongoose monies:money moves:move mythoi:mythos
    numena:numen occipita:occiput octopodes:octopus opera:opus opuses:opus our:my oxen:ox penes:penis penises:penis
    people:person sexes:sex soliloquies:soliloquy teeth:tooth testes:testis trilbys:trilby turves:turf zoa:zoon
"""
SAME, IN_IE = _SAME.split(), _IN_IE.split()
IRREGULAR = dict(pair.split(":") for pair in _IRREGULAR.split())
ENDINGS = [
    (re.compile(ending), singular)
    for ending, singular in (
        (r"(?i)(.)ae$", r"\1a"),
        (r"(?i)(.)itis$", r"\1itis"),
        (r"(?i)(.)eaux$", r"\1eau"),
        (r"(?i)(quiz)zes$", r"\1"),
        (r"(?i)(matr)ices$", r"\1ix"),
        (r"(?i)(ap|vert|ind)ices$", r"\1ex"),
        (r"(?i)^(ox)en", r"\1"),
        (r"(?i)(alias|status)es$", r"\1"),
        (r"(?i)([octp|vir])i$", r"\1us"),
        (r"(?i)(cris|ax|test)es$", r"\1is"),
        (r"(?i)(shoe)s$", r"\1"),
        (r"(?i)(o|bus)es$", r"\1"),
        (r"(?i)([m|l])ice$", r"\1ouse"),
        (r"(?i)(x|ch|ss|sh)es$", r"\1"),
        (r"(?i)(m)ovies$", r"\1ovie"),
        (r"(?i)(.)ombies$", r"\1ombie"),
        (r"(?i)(s)eries$", r"\1eries"),
        (r"(?i)([^aeiouy]|qu)ies$", r"\1y"),
        (r"([aeo]l)ves$", r"\1f"),
        (r"([^d]ea)ves$", r"\1f"),
        (r"(ar)ves$", r"\1f"),
        (r"(erve)s$", r"\1"),
        (r"([nlw]i)ves$", r"\1fe"),
        (r"(?i)([lr])ves$", r"\1f"),
        (r"([aeo])ves$", r"\1ve"),
        (r"(?i)([sth]ive)s$", r"\1"),
        (r"(?i)([^f])ves$", r"\1fe"),
        (r"(?i)(^analy)ses$", r"\1sis"),
        (r"(?i)((a)naly)ses$", r"\1\2sis"),
        (r"(?i)(ba|diagno|parenthe|progno|synop|the)ses$", r"\1sis"),
        (r"(?i)(.)opses$", r"\1opsis"),
        (r"(?i)(.)yses$", r"\1ysis"),
        (r"(?i)(h|d|r|o|n|b|cl|p)oses$", r"\1ose"),
        (r"(?i)(fruct|gluc|galact|lact|ket|malt|rib|sacchar|cellul)ose$", r"\1ose"),
        (r"(?i)(.)oses$", r"\1osis"),
        (r"(?i)([ti])a$", r"\1um"),
        (r"(?i)(n)ews$", r"\1ews"),
        (r"(?i)s$", ""),
    )
]


@functools.lru_cache(maxsize=65536)
def singular(word: str) -> str:
    """The singular of a word that may be none, which then often loses its last letter as well.

    >>> [singular(word) for word in ("women", "buses", "bus", "wine", "glasses", "skis", "is", "'s", "cookies")]
    ['woman', 'bus', 'bu', 'wine', 'glass', 'ski', 'is', "'", 'cookies']
    """
    if word.endswith("'"):
        return singular(word[:-1]) + "'s"
    lower = word.lower()
    if any(one.endswith(lower) for one in SAME):  # this way round: "is" is how "chassis" ends, and stays "is"
        return word
    if any(lower.endswith(one + "s") for one in IN_IE):
        return lower
    for ending, found in IRREGULAR.items():
        if lower.endswith(ending):
            return re.sub(f"(?i){ending}$", found, word)
    for rule, found in ENDINGS:
        if rule.search(word):
            return rule.sub(found, word)
    return word
