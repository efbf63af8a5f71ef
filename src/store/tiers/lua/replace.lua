-- Extends a lease, or replaces it with the reason for its end. Gives 1, or 0 when the lease is not there any more.
-- KEYS[1] the lease; ARGV[3] its prefix; ARGV[4] what to store, ARGV[5] its expiry, in milliseconds
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[3] - 1) ~= ARGV[3] then
  return reply(0)
end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
return reply(1)
