-- Gives entries of a stream. Only a primary does: a replica may have lost its primary, and would give old ones.
-- KEYS[1] the stream; ARGV[3] the first id, ARGV[4] how many entries; ARGV[5] for how many milliseconds the stream is to
-- live on at least: with 1, this changes nothing
local written = redis.pcall('PEXPIRE', KEYS[1], ARGV[5], 'GT')
-- A replica says READONLY before it looks at anything else. A primary that cannot save its data knows all that it took.
if type(written) == 'table' and written.err and not string.find(written.err, 'MISCONF', 1, true) then
  return written
end
return reply(redis.call('XRANGE', KEYS[1], ARGV[3], '+', 'COUNT', ARGV[4]))
