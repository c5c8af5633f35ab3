import type { Connect, Plugin } from 'vite'
import { MockPlatform } from './platform.ts'

/** Answer `/api/v1` from fixtures, in `vite --mode mock` and in `vite preview --mode mock` alike. */
export function mockPlatform(): Plugin {
  const platform = new MockPlatform()
  const handle: Connect.NextHandleFunction = (request, response, next) => {
    platform.handle(request, response).then((taken) => {
      if (!taken) next()
    }, next)
  }
  return {
    name: 'mock-platform',
    configureServer(server) {
      server.middlewares.use(handle)
    },
    configurePreviewServer(server) {
      server.middlewares.use(handle)
    },
  }
}
