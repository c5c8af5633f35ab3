-- After Envoy has verified the route token: it counts only on the host that it was made for.
local function host_of(authority)
  return (string.gsub(authority, ":%d+$", ""))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  local verified = metadata:get("envoy.filters.http.jwt_authn")
  local token = verified and verified["lab"]
  if token and token["aud"] == host_of(headers:get(":authority")) and type(token["upstream"]) == "string" then
    headers:replace("x-lab-upstream", token["upstream"])
    headers:replace("x-lab-id", token["lab"])
    headers:replace("x-lab-attempt", string.format("%d", token["attempt"]))
    metadata:set("datalabs", "pass", "yes")
  end
end
