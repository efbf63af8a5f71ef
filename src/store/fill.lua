-- Puts an entry in the place of what its maker saw there. Gives 1, or 0 when something else is there by now.
-- KEYS[1] the entry, KEYS[2] the lease beside it, if there is one; ARGV[3] how what was seen begins; ARGV[4] the new entry,
-- ARGV[5] how long it lives, in milliseconds; ARGV[6] how that lease begins
-- Where there is nothing left, or only somebody's lease, there is nothing to be lost: whoever reads it judges it anyway.
local filled = 0
local there = redis.call('GETRANGE', KEYS[1], 0, 11)
if string.sub(there, 1, #ARGV[3]) == ARGV[3] or there == '' or string.byte(there, 12) == 4 then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
  filled = 1
end
-- In the same slot: the hash tag is the same. It is among the keys of the call, or a slot that moves would let the script
-- write the entry and then refuse it the lease.
if KEYS[2] and redis.call('GETRANGE', KEYS[2], 0, #ARGV[6] - 1) == ARGV[6] then
  redis.call('DEL', KEYS[2])
end
return reply(filled)
