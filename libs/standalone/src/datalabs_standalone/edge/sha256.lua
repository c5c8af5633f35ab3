-- SHA-256 (FIPS 180-4) and HMAC (RFC 2104) on LuaJIT's bit operations: Envoy's Lua brings no hash of its own.
local band, bxor, bnot, rshift, ror, tobit = bit.band, bit.bxor, bit.bnot, bit.rshift, bit.ror, bit.tobit

local ROUND = {}
do
  -- The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
  local count, candidate = 0, 2
  while count < 64 do
    local prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      if candidate % divisor == 0 then
        prime = false
        break
      end
    end
    if prime then
      count = count + 1
      local root = candidate ^ (1 / 3)
      ROUND[count] = tobit(math.floor((root - math.floor(root)) * 4294967296))
    end
    candidate = candidate + 1
  end
end

local function word(n)
  return string.char(band(rshift(n, 24), 255), band(rshift(n, 16), 255), band(rshift(n, 8), 255), band(n, 255))
end

local function sha256(message)
  local length = #message
  local padded = message .. "\128" .. string.rep("\0", (55 - length) % 64) .. word(0) .. word(length * 8)
  local h0, h1, h2, h3 = tobit(0x6a09e667), tobit(0xbb67ae85), tobit(0x3c6ef372), tobit(0xa54ff53a)
  local h4, h5, h6, h7 = tobit(0x510e527f), tobit(0x9b05688c), tobit(0x1f83d9ab), tobit(0x5be0cd19)
  local w = {}
  for start = 1, #padded, 64 do
    for t = 1, 16 do
      local b1, b2, b3, b4 = string.byte(padded, start + (t - 1) * 4, start + (t - 1) * 4 + 3)
      w[t] = tobit(b1 * 16777216 + b2 * 65536 + b3 * 256 + b4)
    end
    for t = 17, 64 do
      local x, y = w[t - 15], w[t - 2]
      local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
      local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
      w[t] = tobit(w[t - 16] + s0 + w[t - 7] + s1)
    end
    local a, b, c, d, e, f, g, h = h0, h1, h2, h3, h4, h5, h6, h7
    for t = 1, 64 do
      local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
      local t1 = tobit(h + s1 + bxor(band(e, f), band(bnot(e), g)) + ROUND[t] + w[t])
      local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
      local t2 = tobit(s0 + bxor(band(a, b), band(a, c), band(b, c)))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
    end
    h0, h1, h2, h3 = tobit(h0 + a), tobit(h1 + b), tobit(h2 + c), tobit(h3 + d)
    h4, h5, h6, h7 = tobit(h4 + e), tobit(h5 + f), tobit(h6 + g), tobit(h7 + h)
  end
  return word(h0) .. word(h1) .. word(h2) .. word(h3) .. word(h4) .. word(h5) .. word(h6) .. word(h7)
end

local function masked(key, mask)
  return (string.gsub(key .. string.rep("\0", 64 - #key), ".", function(c)
    return string.char(bxor(string.byte(c), mask))
  end))
end

-- Keys of at most 64 bytes; returns lower-case hexadecimal.
local function hmac_sha256(key, message)
  local digest = sha256(masked(key, 0x5c) .. sha256(masked(key, 0x36) .. message))
  return (string.gsub(digest, ".", function(c)
    return string.format("%02x", string.byte(c))
  end))
end
