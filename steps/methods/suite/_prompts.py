"""Our own instructions whose fulfilment a program can see. Short answers, so that asking is cheap."""

PROMPTS = r"""
words-most
What is the sun? Answer in at most 12 words.
{"words": [2, 12], "contains": ["star"]}
words-least
Describe a rainy day in at least 15 words.
{"words": [15, null], "contains": ["rain"]}
words-one
What is the opposite of hot? Answer with one word only.
{"words": 1, "only": ["cold"]}
words-three
Describe the sea in exactly three words.
{"words": 3}
sentence-one
What does a baker do? Answer in one sentence.
{"sentences": 1, "contains_any": ["bak", "bread"]}
sentences-two
Tell me about cats in exactly two sentences.
{"sentences": 2, "contains": ["cat"]}
lower-capital
What is the capital of France? Write in lower case only.
{"letters": "lower", "contains": ["paris"]}
lower-hello
Greet me in one short sentence. Do not use any capital letters.
{"letters": "lower", "words": [1, 20]}
upper-colour
Name a colour. Write your whole answer in capital letters.
{"letters": "upper", "words": [1, 12]}
upper-yes
Is water wet? Answer in upper case, in at most five words.
{"letters": "upper", "words": [1, 5]}
keyword-garden
Write one sentence about spring that contains the word garden.
{"contains": ["garden"], "sentences": 1}
keywords-two
Write one sentence with the words bridge and river.
{"contains": ["bridge", "river"], "sentences": 1}
keyword-twice
Write a short sentence in which the word blue occurs exactly twice.
{"times": {"blue": 2}}
lacks-word
Describe an apple in one sentence without using the word fruit.
{"lacks": ["fruit"], "contains": ["apple"]}
lacks-comma
List three animals in one line. Do not use any commas.
{"lacks": [","], "lines": 1}
json-name
Answer with JSON only: an object with the keys "name" and "age" for a person you invent.
{"json": ["name", "age"]}
json-city
Give a JSON object with the key "capital" for Italy. No other text.
{"json": ["capital"]}
json-list
Write a JSON list of three colours and nothing else.
{"json": []}
bullets-three
List exactly three fruits as bullet points.
{"bullets": 3}
bullets-two
Name two uses of paper. Use exactly two bullet points that begin with a dash.
{"bullets": 2, "contains": ["- "]}
numbered-three
Give me a numbered list of exactly three sports.
{"bullets": 3, "contains": ["1", "2", "3"]}
lines-four
Write the names of four months, one on each line, with nothing else.
{"lines": 4, "words": 4}
starts-dear
Write one sentence of thanks to a friend. Begin it with the word Dear.
{"starts": "Dear"}
starts-no
Can fish fly aeroplanes? Begin your answer with the word No.
{"starts": "No"}
ends-thanks
Invite me to dinner in one or two sentences. End with the words Thank you.
{"matches": "(?i)thank you[.!]?$"}
ends-question
Ask me something about my holidays. Your answer must end with a question mark.
{"ends": "?", "words": [2, 30]}
quoted
Write a motto for a school. Put your whole answer in double quotation marks.
{"quoted": true, "words": [1, 30]}
only-yes-no
Is ice cold? Answer only yes or no.
{"only": ["yes", "no"]}
only-choice
Which is larger, a mouse or an elephant? Answer with only that word.
{"only": ["elephant", "an elephant"]}
only-number
How many legs does a dog have? Answer with only a number.
{"only": ["4", "four"]}
only-label
Is this review positive or negative? 'I loved this film.' Answer with only that word.
{"only": ["positive", "negative"]}
only-letter
Which comes first in the alphabet, M or B? Answer with the letter only.
{"only": ["b", "m"]}
paragraphs-two
Write two very short paragraphs about tea, with a blank line between them.
{"paragraphs": 2, "contains": ["tea"]}
title
Write a title for a story about a dragon. Put it between << and >>.
{"matches": "<<[^<>]+>>"}
hashtag
Write one sentence about running that ends with the hashtag #run.
{"ends": "#run"}
repeat
Repeat this word for word and say nothing else: the quick brown fox
{"only": ["the quick brown fox"]}
repeat-thrice
Write the word echo exactly three times.
{"times": {"echo": 3}, "words": [3, 6]}
separator
Name two rivers. Separate them with the sign | and write nothing else.
{"matches": "^[^|\\n]+\\|[^|\\n]+$"}
placeholder
Write a one-line greeting for a letter with the placeholder [name] in it.
{"contains": ["[name]"], "lines": 1}
uppercase-word
Write one sentence about safety with the word STOP in capital letters.
{"matches": "\\bSTOP\\b", "lines": 1}
"""  # name, prompt, checks; line by line
