import { CloseButton, Drawer, Modal } from '@mantine/core'
import type { ReactNode } from 'react'

interface Props {
  opened: boolean
  title: string
  children: ReactNode
  /** Missing: it closes only by what stands in it. */
  close?: () => void
}

const HEAD = {
  display: 'flex',
  justifyContent: 'space-between',
  alignItems: 'center',
  marginBottom: '0.875rem',
}

/** Mantine's own title makes a second banner of the page, hence a heading of ours. */
function Head({ title, close }: Pick<Props, 'title' | 'close'>) {
  return (
    <div style={HEAD}>
      <h2>{title}</h2>
      {close && <CloseButton aria-label="Close" onClick={close} />}
    </div>
  )
}

export function Dialog({ opened, title, close, children }: Props) {
  return (
    <Modal.Root
      opened={opened}
      onClose={close ?? (() => undefined)}
      closeOnEscape={close !== undefined}
      closeOnClickOutside={close !== undefined}
      centered
    >
      <Modal.Overlay backgroundOpacity={0.45} blur={2} />
      <Modal.Content aria-label={title}>
        <Modal.Body p="lg">
          <Head title={title} close={close} />
          {children}
        </Modal.Body>
      </Modal.Content>
    </Modal.Root>
  )
}

/** Comes in from the side, on narrow screens. */
export function Sheet({ opened, title, close, children }: Props) {
  return (
    <Drawer.Root opened={opened} onClose={close ?? (() => undefined)} size="20rem">
      <Drawer.Overlay backgroundOpacity={0.45} />
      <Drawer.Content aria-label={title}>
        <Drawer.Body p="lg">
          <Head title={title} close={close} />
          {children}
        </Drawer.Body>
      </Drawer.Content>
    </Drawer.Root>
  )
}
