-- Deletes a lease, if it still is the one that begins like this.
-- KEYS[1] where it is; ARGV[3] how it begins
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[3] - 1) == ARGV[3] then
  redis.call('DEL', KEYS[1])
end
return reply()
