// What may change the meaning of all else and is not understood here.
RuleSet: NothingUnread
* implicitRules 0..0
* modifierExtension 0..0
