"""What each comparison measures, and what in it is not comparable."""

ABOUT = {
    "recbole": (
        "Our backbones alone and those of RecBole 1.2.1, on the same training interactions and items, with the same "
        "sizes, dropout, batch size and optimizer, one thread each. An epoch is one pass over all training positions. "
        "Where a history is longer than T, ours predicts its latest T items only, and RecBole makes rows of all of "
        "them (see the note). **Batches mean different things**: a row of ours is a user with all positions. RecBole "
        "makes a row of every position's prefix, so its epoch has many more steps and may learn more. These are "
        "therefore costs of a pass, not costs to an equal accuracy. RecBole pads to the longest sequence (at most T). "
        "Ours pads within groups of similar length. The losses: full cross-entropy is the same on both sides. With "
        "one negative, ours is binary cross-entropy and RecBole's is BPR, which is as much work. The models differ in "
        "small parts: RecBole's SASRec normalises its input and has no final norm, its GRU4Rec has one linear layer "
        "more, and its BERT4Rec has one more with a norm and an output bias. Ours reads each BERT4Rec user twice an "
        "epoch (a cloze, and the last item hidden). RecBole reads each prefix once or, in *one row a user*, which is "
        "not its default, each user once. Full ranking: HR@10 and NDCG@10 of all validation items among all items, "
        "with nothing left out. Memory is that of the whole process, libraries and data included."
    ),
    "rectools": (
        "Our SASRec and that of RecTools 0.19, on the same training interactions, with the same sizes, dropout, "
        "batch size, loss and learning rate, one thread each. On both sides a row is a user with all positions. "
        "RecTools pads every row to T or the longest sequence. It "
        "adds no √D to item vectors. Its full ranking is `recommend` and `calc_metrics` of HR@10 and NDCG@10, ours as "
        "above; items without a training interaction compete in ours alone. `results/<dataset>/fidelity/rectools.csv` "
        "says how well both recommend. Memory is that of the whole process."
    ),
    "encoding": (
        "The item prompts through the same all-MiniLM-L6-v2 folder, with tokenization and without loading, one "
        "thread. sentence-transformers runs at its default batch of 32 texts in float32. Compare it with *ours, "
        "float32*. *auto* is what the pipeline does: bfloat16 where the machine has it. The cosine distance is the "
        "greatest of any text to our float32 vector. Tokens are counted without padding."
    ),
    "retrieval": (
        "The N most similar users of every user by cosine, exact on all sides. *One matrix* holds all cosines and "
        "`argpartition`s them; *in blocks* does so for 512 users at a time. Neighbours that differ are ties (users "
        "with equal texts), or differ by rounding."
    ),
    "floor": (
        "How far our epochs are from the machine's peak. *GFLOP* counts the matrix products of a whole epoch "
        "(forward, backward, teachers, validation) that our code does. *Peak* is a 1024³ float32 product on one "
        "thread, measured in the same process. Adam's traffic is the least it can move, at the speed of a 256 MB "
        "copy. *Share of the floor* is the sum of both by the epoch's time. Elementwise work, gathers and random "
        "numbers are in no floor, so 100 % is out of reach."
    ),
    "serving": (
        "A saved recommender (`llmesr.Recommender`), one thread. *Export* writes the top of a million users, the "
        "dataset's histories over and over, to parquet, block by block. *One call a user* is the time of one "
        "`recommend`, median and 95 % quantile over 500 users. Measured once."
    ),
}
