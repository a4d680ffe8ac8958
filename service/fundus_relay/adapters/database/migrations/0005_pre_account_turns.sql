-- Calls to the analyser at once, and how often, over all processes.

create table analyser_turn (
    number  integer     primary key,                    -- from 1 to the setting
    holder  uuid,                                       -- of one call
    until   timestamptz not null default '-infinity'    -- then it is free, whoever had it
) with (fillfactor = 50);

create table analyser_pace (
    name    text        primary key default 'analyser', -- one row
    next_at timestamptz not null default '-infinity'    -- when the next call may begin
) with (fillfactor = 50);
insert into analyser_pace default values;
