"""Our own wording in place of upstream's, for those who cannot or will not fetch an upstream file.

Prompts made with it are of the same kind and length, but they are other prompts: nothing measured with them may be set
beside numbers measured with upstream's wording. Rows and manifest say so.
"""

from __future__ import annotations

from nemo_skills_specdec.prompts.speed_bench.schema import MASK
from nemo_skills_specdec.prompts.speed_bench.texts import Texts

SOURCE_MARK = "own-texts:"
"""Put before the `source` of every row that holds our own wording."""

OWN_TEXTS = Texts(
    placeholder=MASK,
    pad="Give your answer at once.\n",
    ss_head="Several answers to one question follow. Say which of them helps most, and why.\n",
    ss_after_head="This is the question.\n",
    ss_before_answers="These are the answers.\n",
    ss_tail="Name the answer that helps most by its number. Then say, for each of the others, why it helps less.\n",
    ts_old="",
    ts_new="Write the four parts below in their right order, word for word and in full.\n\n",
    wr_head="Complete the last sentence of each dialogue below with the right speaker's name, then go on with it.\n\n",
    wr_tail="\n\n",
    wr_item=("DIALOGUE ", ("hole", "i + 1"), "\n", ("hole", "content"), "\nEND OF DIALOGUE"),
    rag="Use this text:\n{context}\n\nAnswer in full: {question}",
    coser=(
        "Play {character} of the book {book_name}.\n\nWho you are: {character_profile}\n\nWhat happens: {scenario}\n\n"
        "Who else is there:\n{other_character_profiles_str}\n\nWhat moves you: {motivation}\n\n"
        "Answer with what {character} thinks, does and says."
    ),
    coser_none="It is not told.",
    mmlu="Questions about {subject}, each with several answers. Reason, then give the letter of the right one.\n\n",
    mmlu_item=("Q: ", ("hole", "question"), "\nA:\n", ("hole", "options_str"), "\n\n"),
    mmlu_option=("", ("hole", "letter"), ") ", ("hole", "option")),
    hle_head="Answer the last question. First, solved questions about ",
    hle_tail=".\n\n",
    hle_q="Q: ",
    hle_a="\nA: ",
    hle_end="\n---\n",
)
