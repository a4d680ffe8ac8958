-- What a quick look had against a photograph before it was sent: advice, never a finding.

alter table image add column advice jsonb not null default '[]';    -- codes
