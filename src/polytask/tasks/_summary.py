"""What a task must know of its label column, gathered in one pass and bounded memory."""


class LabelSummary: ...
