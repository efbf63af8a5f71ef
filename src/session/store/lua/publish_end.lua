-- Precedes every script that ends a session or gives it another lineage.
-- KEYS[1]  the record: `namespace:s:{id}`, or `namespace:s.realm:{id}`
-- Gives    `tell_ended`, which publishes the id to all who wait for the end. It is only a hint: if the permissions of the
--          Redis user refuse it, nothing else fails
local function tell_ended()
  redis.pcall('PUBLISH', (string.gsub(KEYS[1], ':s[^:]*:{.*$', ':e')), string.match(KEYS[1], '{(.*)}'))
end
