/** The platform's mark: five lines of the spectrum. */
export function Mark({ size = 26 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" fill="#0b1820" />
      <g>
        <path d="M7 8v16" stroke="#8f7bf0" strokeWidth="2" />
        <path d="M11.5 8v16" stroke="#4aa3ff" strokeWidth="3" />
        <path d="M16.5 8v16" stroke="#35d0c0" strokeWidth="1.5" />
        <path d="M20.500 8v16" stroke="#f3bc4f" strokeWidth="2.5" />
        <path d="M25.5 8v16" stroke="#ff5d6c" strokeWidth="3.5" />
      </g>
    </svg>
  )
}
