-- Pages of reports: Binaries whose bytes lie in the blob store, found by digest when it is swept.

create index resource_blob on resource ((content #>> '{_data,extension,0,valueString}'))
    where kind = 'Binary' and is_newest;
