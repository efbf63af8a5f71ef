-- Gives a place back. It is harmless at any time, so it has no time limit and reads no clock.
--
-- KEYS[1]  the places
-- ARGV[1]  as for a decision
-- Replies  the proof
local left = redis.pcall('ZREM', KEYS[1], string.sub(ARGV[1], 49))
if type(left) == 'table' and not string.find(left.err, 'WRONGTYPE', 1, true) then return left end
return string.sub(ARGV[1], 1, 8)
