-- Stores an entry if what its maker saw is still there, and deletes the maker's lease beside it. Gives 1; 0 if it was replaced.
-- KEYS[1] the entry, KEYS[2] the lease beside it, if there is one; ARGV[3] the prefix of what was seen; ARGV[4] the new entry,
-- ARGV[5] its expiry, in milliseconds; ARGV[6] the prefix of that lease
-- It is also stored where there is nothing or a lease (kind 4): no entry is lost, and each reader judges what it reads.
local filled = 0
local there = redis.call('GETRANGE', KEYS[1], 0, 11)
if string.sub(there, 1, #ARGV[3]) == ARGV[3] or there == '' or string.byte(there, 12) == 4 then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
  filled = 1
end
-- The lease is one of the keys of the call: otherwise the script could, while a slot moves, write the entry and then fail.
if KEYS[2] and redis.call('GETRANGE', KEYS[2], 0, #ARGV[6] - 1) == ARGV[6] then
  redis.call('DEL', KEYS[2])
end
return reply(filled)
