"""The kinds of fact that write.py makes text of: how passages say them, how people ask, how to answer.

Slots in braces are filled with random values: `{s}` a site ("the clinic at Harrow School"), `{p}` and
`{o}` places, `{n}` and `{m}` numbers, `{t}` and `{u}` times, `{x}` a person, `{y}` a name; the others
come from WORDS by their key. An answer follows from the question and the fact alone, so there is
exactly one right answer, and whether a copied answer is right can be checked letter by letter.
"""

from __future__ import annotations

SITES = (
    "clinic",
    "shelter",
    "kitchen",
    "water point",
    "food store",
    "charging point",
    "pharmacy",
    "information desk",
    "missing persons desk",
    "registration desk",
    "first aid post",
    "laundry",
    "depot",
    "animal shelter",
    "field hospital",
    "tool store",
    "radio room",
    "fuel station",
    "clothing store",
    "tent camp",
    "help desk",
    "boat landing",
    "soup kitchen",
    "warm room",
    "workshop",
    "post office",
    "shower block",
    "vaccination post",
    "repair shop",
    "control room",
    "sandbag store",
    "phone desk",
)
SUFFIXES = (
    "School",
    "Hall",
    "Farm",
    "Church",
    "Mill",
    "Square",
    "Station",
    "Library",
    "Market",
    "Barn",
    "Chapel",
    "Park",
    "House",
    "Inn",
    "Street",
    "Field",
    "Lane",
    "Hill",
    "Bridge",
    "Castle",
    "Tower",
    "Weir",
    "Quay",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WORDS: dict[str, tuple[str, ...]] = {
    "goods": (
        "blankets",
        "tents",
        "tarpaulins",
        "candles",
        "batteries",
        "torches",
        "sandbags",
        "shovels",
        "buckets",
        "bars of soap",
        "jars of baby food",
        "nappies",
        "water filters",
        "chlorine tablets",
        "bottles of water",
        "warm clothes",
        "boots",
        "gloves",
        "hot meals",
        "food parcels",
        "loaves of bread",
        "bags of dry milk",
        "medicines",
        "bandages",
        "masks",
        "hygiene kits",
        "cooking pots",
        "gas bottles",
        "bundles of firewood",
        "phone cards",
        "maps",
        "sleeping bags",
        "mattresses",
        "raincoats",
        "life jackets",
        "ropes",
        "pumps",
        "stoves",
        "bags of rice",
        "sacks of animal feed",
        "bales of hay",
        "matches",
        "towels",
        "jerrycans",
        "plastic sheets",
        "radios",
        "lamps",
        "fuel vouchers",
        "meal cards",
    ),
    "where": ("next to", "behind", "opposite", "near", "inside", "above", "below", "in front of", "beside"),
    "thing": (
        "an identity card",
        "a clean bottle",
        "a meal card",
        "your own blanket",
        "a torch",
        "your medicines",
        "a jerrycan",
        "a photograph",
        "warm clothes",
        "a bag",
        "a cup and a plate",
        "your health card",
        "a closed bucket",
        "a charging cable",
        "a list of your family",
        "proof of address",
        "a towel",
    ),
    "day": tuple(f"{d}s" for d in _DAYS) + tuple(f"{a}s and {b}s" for a in _DAYS for b in _DAYS if a != b),
    "weekday": _DAYS,
    "guest": (
        "doctor",
        "nurse",
        "vet",
        "dentist",
        "midwife",
        "engineer",
        "water truck",
        "fuel truck",
        "bus",
        "mobile library",
        "priest",
        "supply truck",
        "electrician",
        "inspector",
    ),
    "role": (
        "mayor",
        "doctor",
        "nurse",
        "engineer",
        "vet",
        "boat master",
        "fire chief",
        "head teacher",
        "shelter manager",
        "harbour master",
        "water officer",
        "coordinator",
        "interpreter",
    ),
    "team": (
        "boat crews",
        "rescue teams",
        "medical teams",
        "drivers",
        "engineers",
        "volunteers",
        "pilots",
        "road crews",
        "fire crews",
        "wardens",
        "divers",
        "supply trucks",
        "search teams",
        "bridge guards",
    ),
    "vehicles": (
        "all vehicles",
        "ambulances only",
        "light vehicles",
        "tractors only",
        "vehicles with four-wheel drive",
        "people on foot",
        "supply trucks",
        "cars and buses",
        "rescue vehicles",
        "bicycles and carts",
    ),
    "reason": (
        "a landslide",
        "deep water",
        "fallen trees",
        "a broken pier",
        "mud",
        "a damaged wall",
        "repairs",
        "a gas leak",
        "cracks",
        "loose rocks",
        "a sunken barge",
        "a power line",
        "rubble",
    ),
    "water": ("clear", "cloudy", "river", "well", "rain", "spring", "tank", "dirty"),
    "mark": (
        "an orange cross",
        "a white circle",
        "two red flags",
        "green lamps",
        "a yellow flag",
        "blue smoke",
        "a white sheet",
        "four lamps",
        "red tape",
        "a large H",
        "black and white poles",
    ),
    "matter": (
        "missing persons",
        "lost animals",
        "damaged houses",
        "gas leaks",
        "dead animals",
        "fallen power lines",
        "blocked drains",
        "leaking pipes",
        "lost documents",
        "found children",
        "cracked walls",
        "sick animals",
    ),
    "source": ("the well at", "the tap at", "the tank at", "the spring at", "the pump at", "the pipe at"),
    "people": ("children", "families", "patients", "animals", "people", "guests", "cars", "adults"),
    "often": ("15 minutes", "20 minutes", "30 minutes", "45 minutes", "hour", "two hours", "three hours"),
}

#: Ways to say it; then, for each thing to ask about it, ways to ask and the answer.
Kind = tuple[tuple[str, ...], tuple[tuple[tuple[str, ...], str], ...]]

_OPEN = ("When does {s} open?", "What time does {s} open?", "At what time does {s} open?", "When will {s} open?")
_CLOSE = ("When does {s} close?", "What time does {s} close?", "Until when is {s} open?", "How late is {s} open?")
_ROAD = ("Is {road} open?", "Can I drive on {road}?", "Can we use {road}?", "Is {road} passable?")
_BRIDGE = ("Is the {y} bridge open?", "Can I cross the {y} bridge?", "Can we use the {y} bridge?")
_SAFE = (
    "Is water from {source} {p} safe?",
    "Can I drink water from {source} {p}?",
    "Is the water from {source} {p} safe to drink?",
    "May we drink the water from {source} {p}?",
)

KINDS: tuple[Kind, ...] = (
    (
        ("{s} opens at {t}.", "{s} opens its doors at {t}.", "{s} opens every day at {t}."),
        ((_OPEN, "{s} opens at {t}"),),
    ),
    (("{s} closes at {t}.", "{s} closes its doors at {t}.", "{s} shuts at {t}."), ((_CLOSE, "{s} closes at {t}"),)),
    (
        ("{s} is open from {t} to {u}.", "{s} is open daily from {t} to {u}.", "{s} is open between {t} and {u}."),
        (
            (
                ("When is {s} open?", "What are the opening hours of {s}?", "What are the hours of {s}?"),
                "{s} is open from {t} to {u}",
            ),
            (_OPEN, "{s} opens at {t}"),
            (_CLOSE, "{s} closes at {u}"),
        ),
    ),
    (
        ("{s} has room for {n} {people}.", "{s} holds {n} {people}.", "{s} can take {n} {people}."),
        (
            (
                (
                    "How many {people} can {s} take?",
                    "How many {people} does {s} hold?",
                    "How many {people} fit into {s}?",
                    "For how many {people} does {s} have room?",
                ),
                "{s} has room for {n} {people}",
            ),
        ),
    ),
    (
        ("{s} is {where} {p}.", "{s} can be found {where} {p}.", "You find {s} {where} {p}."),
        (
            (
                ("Where is {s}?", "Where can I find {s}?", "Where do we find {s}?", "How do I find {s}?"),
                "{s} is {where} {p}",
            ),
        ),
    ),
    (
        ("The number of {s} is {phone}.", "Call {s} on {phone}.", "{s} can be called on {phone}."),
        (
            (
                (
                    "What is the number of {s}?",
                    "What is the phone number of {s}?",
                    "How can I call {s}?",
                    "Which number does {s} have?",
                ),
                "The number of {s} is {phone}",
            ),
        ),
    ),
    (
        ("{x} is in charge of {s}.", "{x} runs {s}.", "{s} is run by {x}."),
        (
            (
                ("Who runs {s}?", "Who is in charge of {s}?", "Who is responsible for {s}?", "Who leads {s}?"),
                "{x} is in charge of {s}",
            ),
        ),
    ),
    (
        (
            "{goods} can be collected at {s}.",
            "Collect {goods} at {s}.",
            "{s} gives out {goods}.",
            "{goods} are available at {s}.",
        ),
        (
            (
                (
                    "Where can I get {goods}?",
                    "Where can we collect {goods}?",
                    "Where do I find {goods}?",
                    "Where are {goods} available?",
                ),
                "{goods} can be collected at {s}",
            ),
        ),
    ),
    (
        ("{goods} are handed out at {s} at {t}.", "{s} hands out {goods} at {t}.", "At {t}, {s} hands out {goods}."),
        (
            (
                (
                    "When are {goods} handed out at {s}?",
                    "What time are {goods} handed out at {s}?",
                    "When does {s} hand out {goods}?",
                ),
                "{goods} are handed out at {s} at {t}",
            ),
            (("Where are {goods} handed out?", "Where can I get {goods}?"), "{goods} are handed out at {s} at {t}"),
        ),
    ),
    (
        ("Bring {thing} to {s}.", "Visitors to {s} must bring {thing}.", "Please bring {thing} to {s}."),
        (
            (
                (
                    "What should I bring to {s}?",
                    "What do I need at {s}?",
                    "What must visitors bring to {s}?",
                    "What do we have to bring to {s}?",
                ),
                "Bring {thing} to {s}",
            ),
        ),
    ),
    (
        ("{s} is closed on {day}.", "{s} stays closed on {day}."),
        ((("On which days is {s} closed?", "When is {s} closed?"), "{s} is closed on {day}"),),
    ),
    (
        ("The {guest} visits {s} on {day}.", "The {guest} comes to {s} on {day}.", "On {day} the {guest} visits {s}."),
        (
            (
                (
                    "When does the {guest} visit {s}?",
                    "On which days does the {guest} come to {s}?",
                    "When does the {guest} come to {s}?",
                ),
                "The {guest} visits {s} on {day}",
            ),
        ),
    ),
    (
        ("The generator at {p} runs from {t} to {u}.", "At {p} the generator runs from {t} to {u}."),
        (
            (
                (
                    "When does the generator at {p} run?",
                    "When is there power at {p}?",
                    "When is there electricity at {p}?",
                ),
                "The generator at {p} runs from {t} to {u}",
            ),
        ),
    ),
    (
        (
            "The generator at {p} needs {n} litres of diesel a day.",
            "The generator at {p} burns {n} litres of diesel a day.",
        ),
        (
            (
                (
                    "How much diesel does the generator at {p} need?",
                    "How much fuel does the generator at {p} use?",
                    "How many litres does the generator at {p} need?",
                ),
                "The generator at {p} needs {n} litres of diesel a day",
            ),
        ),
    ),
    (
        (
            "The {team} of {p} use channel {c}.",
            "Channel {c} is for the {team} of {p}.",
            "The {team} of {p} listen on channel {c}.",
        ),
        (
            (
                (
                    "Which channel do the {team} of {p} use?",
                    "What is the channel of the {team} of {p}?",
                    "On which channel are the {team} of {p}?",
                    "What channel is for the {team} of {p}?",
                ),
                "The {team} of {p} use channel {c}",
            ),
        ),
    ),
    (
        ("The {team} use channel {c}.", "Channel {c} is for the {team}.", "The {team} listen on channel {c}."),
        (
            (
                (
                    "Which channel do the {team} use?",
                    "What is the channel of the {team}?",
                    "How do I reach the {team} by radio?",
                    "What channel is for the {team}?",
                ),
                "The {team} use channel {c}",
            ),
        ),
    ),
    (
        ("Radio {y} broadcasts on {f} FM.", "Radio {y} can be heard on {f} FM."),
        (
            (
                (
                    "On which frequency is Radio {y}?",
                    "What is the frequency of Radio {y}?",
                    "Where can I hear Radio {y}?",
                ),
                "Radio {y} broadcasts on {f} FM",
            ),
        ),
    ),
    (
        ("Radio {y} reads the news at {t}.", "The news is read on Radio {y} at {t}."),
        (
            (
                (
                    "When is the news on Radio {y}?",
                    "When does Radio {y} read the news?",
                    "What time is the news on Radio {y}?",
                ),
                "Radio {y} reads the news at {t}",
            ),
        ),
    ),
    (
        ("{road} is closed at {p}.", "{road} is blocked at {p}.", "At {p}, {road} is closed."),
        (
            (("Where is {road} closed?", "Where is {road} blocked?"), "{road} is closed at {p}"),
            (_ROAD, "No, {road} is closed at {p}"),
        ),
    ),
    (
        ("{road} is closed between {p} and {o}.", "Between {p} and {o}, {road} is closed."),
        (
            (("Where is {road} closed?", "Which part of {road} is closed?"), "{road} is closed between {p} and {o}"),
            (_ROAD, "No, {road} is closed between {p} and {o}"),
        ),
    ),
    (
        ("{road} is open to {vehicles}.", "{road} is open again to {vehicles}."),
        (((*_ROAD, "Which vehicles may use {road}?", "Who may use {road}?"), "{road} is open to {vehicles}"),),
    ),
    (
        ("The {y} bridge is closed because of {reason}.", "Because of {reason}, the {y} bridge is closed."),
        (
            (
                ("Why is the {y} bridge closed?", "What is wrong with the {y} bridge?"),
                "The {y} bridge is closed because of {reason}",
            ),
            (_BRIDGE, "No, the {y} bridge is closed because of {reason}"),
        ),
    ),
    (
        ("The {y} bridge carries vehicles up to {n} tonnes.", "Vehicles up to {n} tonnes may cross the {y} bridge."),
        (
            (
                (
                    "How heavy may vehicles on the {y} bridge be?",
                    "How much weight can the {y} bridge carry?",
                    "What is the weight limit of the {y} bridge?",
                    "How many tonnes does the {y} bridge carry?",
                ),
                "The {y} bridge carries vehicles up to {n} tonnes",
            ),
        ),
    ),
    (
        ("Water from {source} {p} is safe to drink.", "Water from {source} {p} is clean and safe to drink."),
        ((_SAFE, "Yes, water from {source} {p} is safe to drink"),),
    ),
    (
        ("Water from {source} {p} must be boiled for {n} minutes.", "Boil water from {source} {p} for {n} minutes."),
        (
            (_SAFE, "No, water from {source} {p} must be boiled for {n} minutes"),
            (
                ("How long must water from {source} {p} be boiled?", "How long do I boil water from {source} {p}?"),
                "Water from {source} {p} must be boiled for {n} minutes",
            ),
        ),
    ),
    (
        (
            "Use {n} drops of bleach for {m} litres of {water} water.",
            "Add {n} drops of bleach to {m} litres of {water} water.",
        ),
        (
            (
                (
                    "How many drops of bleach do I need for {m} litres of {water} water?",
                    "How much bleach goes into {m} litres of {water} water?",
                    "How many drops of bleach for {water} water?",
                ),
                "Use {n} drops of bleach for {m} litres of {water} water",
            ),
        ),
    ),
    (
        (
            "Wait {n} minutes before you drink {water} water.",
            "Let {water} water stand for {n} minutes before you drink it.",
        ),
        (
            (
                (
                    "How long must I wait before I drink {water} water?",
                    "How long do we wait before drinking {water} water?",
                ),
                "Wait {n} minutes before you drink {water} water",
            ),
        ),
    ),
    (
        ("{s} gives {n} litres of water to each person.", "Each person gets {n} litres of water at {s}."),
        (
            (
                (
                    "How much water does each person get at {s}?",
                    "How many litres of water does {s} give?",
                    "How much water can I get at {s}?",
                ),
                "{s} gives {n} litres of water to each person",
            ),
        ),
    ),
    (
        ("Boats to {p} leave from {o} at {t}.", "At {t} boats leave from {o} to {p}."),
        (
            (
                (
                    "When do boats to {p} leave?",
                    "When is there a boat to {p}?",
                    "Where do boats to {p} leave from?",
                    "From where do boats go to {p}?",
                ),
                "Boats to {p} leave from {o} at {t}",
            ),
        ),
    ),
    (
        ("Boats to {p} leave every {often}.", "Every {often} a boat leaves to {p}."),
        (
            (
                ("How often do boats to {p} leave?", "How often is there a boat to {p}?"),
                "Boats to {p} leave every {often}",
            ),
        ),
    ),
    (
        ("The boat to {p} carries {n} people.", "The boat to {p} has seats for {n} people."),
        (
            (
                ("How many people does the boat to {p} carry?", "How many people fit into the boat to {p}?"),
                "The boat to {p} carries {n} people",
            ),
        ),
    ),
    (
        ("Helicopters land {where} {p}.", "The helicopters land {where} {p}."),
        (
            (
                ("Where do helicopters land?", "Where do the helicopters land?", "Where can a helicopter land?"),
                "Helicopters land {where} {p}",
            ),
        ),
    ),
    (
        ("The landing site at {p} is marked with {mark}.", "{mark} marks the landing site at {p}."),
        (
            (
                ("How is the landing site at {p} marked?", "What marks the landing site at {p}?"),
                "The landing site at {p} is marked with {mark}",
            ),
        ),
    ),
    (
        ("The meeting point for {p} is {where} {o}.", "People from {p} meet {where} {o}."),
        (
            (
                (
                    "Where is the meeting point for {p}?",
                    "Where do people from {p} meet?",
                    "What is the meeting point for {p}?",
                ),
                "The meeting point for {p} is {where} {o}",
            ),
        ),
    ),
    (
        ("{s} has {n} {goods}.", "{s} keeps {n} {goods}.", "There are {n} {goods} at {s}."),
        (
            (
                (
                    "How many {goods} are there at {s}?",
                    "How many {goods} does {s} have?",
                    "How many {goods} are at {s}?",
                ),
                "{s} has {n} {goods}",
            ),
        ),
    ),
    (
        ("The river at {p} is {n} centimetres above normal.", "At {p} the river is {n} centimetres above normal."),
        (
            (
                ("How high is the river at {p}?", "What is the river level at {p}?"),
                "The river at {p} is {n} centimetres above normal",
            ),
        ),
    ),
    (
        ("Lessons at {p} start again on {weekday}.", "On {weekday} lessons at {p} start again."),
        (
            (
                ("When do lessons at {p} start again?", "On which day do lessons at {p} start?"),
                "Lessons at {p} start again on {weekday}",
            ),
        ),
    ),
    (
        ("Report {matter} to {s}.", "{matter} should be reported to {s}.", "Please report {matter} to {s}."),
        (
            (
                ("Where do I report {matter}?", "Where should I report {matter}?", "Who needs to know about {matter}?"),
                "Report {matter} to {s}",
            ),
        ),
    ),
    (
        ("The bus to {p} leaves from {o} at {t}.", "At {t} a bus leaves from {o} to {p}."),
        (
            (
                (
                    "When does the bus to {p} leave?",
                    "When is there a bus to {p}?",
                    "Where does the bus to {p} leave from?",
                ),
                "The bus to {p} leaves from {o} at {t}",
            ),
        ),
    ),
    (
        ("The {role} of {p} is {x}.", "{x} is the {role} of {p}."),
        ((("Who is the {role} of {p}?", "What is the name of the {role} of {p}?"), "The {role} of {p} is {x}"),),
    ),
    (
        ("{x} can be reached on {phone}.", "The number of {x} is {phone}.", "Call {x} on {phone}."),
        (
            (
                ("How can I reach {x}?", "What is the number of {x}?", "What is the phone number of {x}?"),
                "{x} can be reached on {phone}",
            ),
        ),
    ),
)

#: Sentences nobody asks about.
FILLERS = (
    "Please keep the entrance free.",
    "Children must be with an adult.",
    "Do not walk through moving water.",
    "The list is renewed every evening.",
    "Please be patient.",
    "Volunteers are welcome.",
    "Keep to the marked path.",
    "Help older neighbours first.",
    "Do not touch cables.",
    "Ask the warden if you are not sure.",
    "There may be a queue in the morning.",
    "Dogs must be kept on a lead.",
    "More help is on its way.",
    "Everything is free of charge.",
    "Do not believe rumours.",
    "Please share this notice.",
    "Switch off lights at night.",
    "Thank you for your help.",
    "Keep this notice in a dry place.",
    "Follow the signs.",
    "Wash your hands often.",
    "The work goes on day and night.",
    "No payment is needed.",
    "Listen to the crews.",
    "Nights are cold.",
)
