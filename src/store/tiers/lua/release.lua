-- Deletes a lease or an entry, if it is still the one with this prefix.
-- KEYS[1] the lease or entry; ARGV[3] its prefix
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[3] - 1) == ARGV[3] then
  redis.call('DEL', KEYS[1])
end
return reply()
