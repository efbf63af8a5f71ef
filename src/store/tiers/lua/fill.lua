-- Stores an entry if what its maker saw is still there, and deletes the maker's lease beside it. Gives 1; 0 if it was replaced.
-- KEYS[1] the entry; ARGV[3] the prefix of what was seen; ARGV[4] the new entry,
-- ARGV[5] its expiry, in milliseconds; ARGV[6] the prefix of the lease beside it, '' for none
-- It is also stored where there is nothing or a lease (kind 4): no entry is lost, and each reader judges what it reads.
local filled = 0
local there = redis.call('GETRANGE', KEYS[1], 0, 11)
if string.sub(there, 1, #ARGV[3]) == ARGV[3] or there == '' or string.byte(there, 12) == 4 then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
  filled = 1
end
-- In the same cluster slot: the hash tag is the same.
if ARGV[6] ~= '' and redis.call('GETRANGE', KEYS[1] .. ':r', 0, #ARGV[6] - 1) == ARGV[6] then
  redis.call('DEL', KEYS[1] .. ':r')
end
return reply(filled)
