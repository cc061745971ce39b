"""The people and posts of the seed: a small town by a river."""

PEOPLE: list[tuple[str, str, str]] = [
    ("ada", "Ada Holm", "Keeps the lock, knows every boat. Coffee at six."),
    ("bram", "Bram de Wit", "Bicycles, mostly other people's. The workshop is open on Thursdays."),
    ("chidi", "Chidi Okafor", "Teaches maths, photographs mist."),
    ("daria", "Daria Lind", "Allotment 14. Will trade tomatoes for stories."),
    ("eskil", "Eskil Berg", "Kayaks in all weathers, regrets it in some."),
    ("fumiko", "Fumiko Arai", "Runs the bakery at the bridge. Rye on Tuesdays."),
    ("gwen", "Gwen Price", "Birds. Ask me about the dippers."),
    ("hamid", "Hamid Rahimi", "Violin maker. Yes, you may look in."),
    ("ines", "Inês Duarte", "New in town, still getting lost."),
    ("jonah", "Jonah Pike", "Volunteer fire brigade, choir, and the quiz on Fridays."),
]

POSTS: list[tuple[str, str, str]] = [
    (
        "Morning mist at the upper weir",
        "Half past five and not a sound but the water. The mist lifted just as the sun came over the mill. Worth every minute of lost sleep.",
        "mist morning weir",
    ),
    (
        "The dippers are back",
        "A pair is nesting under the old footbridge again. Please keep dogs on the lead there until June, they are easily frightened off.",
        "birds bridge spring",
    ),
    (
        "Too many tomatoes",
        "It happened again. Two crates of San Marzano at the gate of allotment 14, take what you can carry. Recipes in exchange are welcome.",
        "garden food giveaway",
    ),
    (
        "Found: one blue mitten",
        "Child's size, with a whale on it, on the towpath near the lock. It is drying on my radiator and misses its brother.",
        "found towpath",
    ),
    (
        "Repair night on Thursday",
        "Bring your bicycle, your toaster, your patience. We have tools, tea and a person who knows about derailleurs.",
        "repair bicycle",
    ),
    (
        "High water on Saturday",
        "The gauge says 2.4 metres by noon. The lower path will be under water, the kayak club stays on land, and I shall be watching from the bakery.",
        "water weather",
    ),
    (
        "Rye bread, the slow way",
        "Three days, four ingredients. I have written down what my grandmother never did, with weights. Ask and I'll bring a jar of starter.",
        "bread food",
    ),
    (
        "A violin from the river willow",
        "The tree that fell in the storm two years ago has become an instrument. First notes on Sunday in the mill, come and hear whether it remembers the water.",
        "music willow mill",
    ),
    (
        "Quiz results",
        "The Otters win for the third time and nobody can explain how they knew the length of the canal to the metre. Next Friday: rivers of the world.",
        "quiz pub",
    ),
    (
        "Where does this staircase go?",
        "Behind the chapel, twenty-two steps, a locked green door. I am new here and I have to know.",
        "mystery town",
    ),
    (
        "Ice on the millpond",
        "Do not walk on it. Do look at it: there are leaves frozen in like pressed flowers.",
        "winter ice mill",
    ),
    (
        "Lost: grey cat, answers to Turbine",
        "Last seen on the roof of the boathouse looking pleased. White left paw. Likes sardines and being right.",
        "lost cat",
    ),
    (
        "The lock is a hundred years old",
        "On the twelfth we open the gates by hand, as they did in the first year. Cake afterwards. Bring gloves.",
        "lock history",
    ),
    (
        "Evening light on the reeds",
        "No filter, no patience needed, just ten minutes on the bench by the boathouse.",
        "evening reeds",
    ),
    (
        "Choir is looking for basses",
        "Two would do. We sing in the old pump house because of the echo, and nobody has to read music.",
        "music choir",
    ),
    (
        "Kingfisher at the sluice",
        "A blue line and it was gone. I have eleven pictures of an empty branch and I am still happy.",
        "birds sluice",
    ),
    (
        "Swap: plum jam for apples",
        "Eight jars, this year's. I need about a bucket of something sour for a cake of heroic size.",
        "food swap",
    ),
    (
        "Night paddle, first Friday",
        "Lights on the bow, slow pace, tea at the island. Beginners welcome, wet feet likely.",
        "kayak night",
    ),
    (
        "The bakery's oven is repaired",
        "Thank you to all who lent theirs. I have never baked in nine kitchens on one day before and hope not to again.",
        "bread thanks",
    ),
    (
        "What the gauge does at night",
        "I plotted the water level of the last month. You can see when the mill opens the gate, and when somebody forgot.",
        "water weir maths",
    ),
    (
        "Otter tracks!",
        "On the sandbank below the footbridge, five toes and a tail mark. I put a ruler next to it this time.",
        "otter tracks",
    ),
    (
        "Old photographs wanted",
        "For the exhibition in the town hall: the flood, the ferry, the swimming bath in the river. We scan and give them back the same day.",
        "history photos",
    ),
    (
        "First swim of the year",
        "Nine degrees. I recommend it to nobody and I am going again tomorrow.",
        "swim spring",
    ),
    (
        "The towpath is open again",
        "New gravel, two benches, and a bin, at last. Thank you, council.",
        "towpath thanks",
    ),
    (
        "Bees in the chapel wall",
        "They were there before us and they are calm. The beekeeper comes on Monday; until then use the north door.",
        "bees chapel",
    ),
    (
        "Storm took the big willow",
        "It missed the boathouse by an arm's length. Hamid has already asked for the wood.",
        "storm willow",
    ),
    (
        "Soup for sixty",
        "The kitchen in the school is ours on Sunday. Needed: leeks, two large pots and people who can peel and talk at once.",
        "food school",
    ),
    (
        "Starlings over the meadow",
        "Every evening about twenty minutes before sunset, above the water meadow. Bring a neck cushion.",
        "birds evening",
    ),
    (
        "A map of all the bridges",
        "Seventeen, if you count the plank. I drew it for myself so as not to get lost, perhaps it is of use to others.",
        "map bridge",
    ),
    (
        "Lanterns on the water",
        "The children made ninety. All were fished out again downstream, the last at midnight by Eskil in a very small boat.",
        "lanterns night school",
    ),
    (
        "Learning to row at fifty",
        "Lesson one: the river is stronger. Lesson two: the river is patient. Lesson three is on Wednesday.",
        "rowing",
    ),
    (
        "Frost on the allotments",
        "Cover your beans tonight. Minus two by the mill, and the mill is always the warm spot.",
        "garden frost weather",
    ),
    (
        "The ferry rope is mended",
        "Spliced by Ada in one afternoon. It will outlive us all.",
        "ferry thanks",
    ),
    (
        "Low water, old stones",
        "The mason's marks on the weir are dry for the first time in ten years. There is a fish among them, and a date that nobody can read.",
        "weir history summer",
    ),
    (
        "Tea at the lock, every Sunday",
        "No occasion. There is a table, there is tea, boats go by.",
        "tea lock",
    ),
    (
        "Fog so thick",
        "I walked to work along the railing. Met Jonah coming the other way along the same railing. A short negotiation followed.",
        "mist winter",
    ),
]

COMMENTS: list[str] = [
    "Lovely, thank you for sharing!",
    "I was there as well, ten minutes too late as always.",
    "Count me in.",
    "My grandmother used to say the same.",
    "Could you bring it to the market on Saturday?",
    "That light!",
    "I have two spare, come round after six.",
    "Is the path dry again?",
    "Seen near the boathouse this morning.",
    "You should send this to the paper.",
    "I'll bring cake.",
    "We tried it yesterday, works well.",
    "The river always wins.",
    "Wonderful. More of this, please.",
    "Does anybody know since when?",
]
