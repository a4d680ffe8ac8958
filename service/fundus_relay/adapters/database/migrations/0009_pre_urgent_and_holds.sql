-- Who may be urgent: a Task says that its sender may not.

alter table submission add column is_urgency_refused boolean not null default false;

-- Several holds of one study, each for its own reason. An older version knows one, by the index of 0008: of those that
-- stand one has no end, as it would have made it, and all others end at infinity.

alter table legal_hold add column reference text not null default '';   -- of a case; free text; never logged
