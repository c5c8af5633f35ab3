-- The threshold of every lab origin, after Envoy has verified the route token: no foreign page may act, a token counts
-- only on the host that it was made for, and whoever brings such a token goes straight in without the gateway's word.
local ORIGIN = "@SCHEME@://"
local SAFE = { GET = true, HEAD = true, OPTIONS = true, TRACE = true }

local function host_of(authority)
  return (string.gsub(authority, ":%d+$", ""))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local authority = headers:get(":authority")
  local upgrade = headers:get("upgrade") ~= nil
  if upgrade or not SAFE[headers:get(":method")] then
    local origin = headers:get("origin")
    if origin ~= ORIGIN .. authority and (upgrade or origin ~= nil) then
      handle:respond(
        { [":status"] = "403", ["content-type"] = "application/problem+json" },
        '{"type":"https://open-datalabs.org/problems/foreign_origin","title":"This request came from another site\'s page",'
          .. '"status":403,"code":"foreign_origin"}'
      )
      return
    end
  end
  local metadata = handle:streamInfo():dynamicMetadata()
  local verified = metadata:get("envoy.filters.http.jwt_authn")
  local token = verified and verified["lab"]
  if token and token["aud"] == host_of(authority) and type(token["upstream"]) == "string" then
    headers:replace("x-lab-upstream", token["upstream"])
    headers:replace("x-lab-secret", secret_of(token["lab"], string.format("%d", token["attempt"])))
    shed(headers)
    metadata:set("datalabs", "pass", "yes")
  end
end
