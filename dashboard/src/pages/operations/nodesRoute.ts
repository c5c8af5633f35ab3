import { getRouteApi } from '@tanstack/react-router'

const route = getRouteApi('/signed-in/operations/nodes')
export const { useNavigate, useSearch } = route
