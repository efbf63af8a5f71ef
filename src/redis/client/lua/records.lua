-- Reads entries of a stream on a primary. A replica refuses: if it has lost its primary, its entries are old.
-- KEYS[1] the stream; ARGV[3] the first id; ARGV[4] how many entries; ARGV[5] in how many milliseconds the stream may expire
-- at the earliest: 1 changes nothing
local written = redis.pcall('PEXPIRE', KEYS[1], ARGV[5], 'GT')
-- A replica answers READONLY. A primary that cannot save its data to disk answers MISCONF, but it has all entries: read on.
if type(written) == 'table' and written.err and not string.find(written.err, 'MISCONF', 1, true) then
  return written
end
return reply(redis.call('XRANGE', KEYS[1], ARGV[3], '+', 'COUNT', ARGV[4]))
