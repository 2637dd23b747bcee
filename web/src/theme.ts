// How it looks: Mantine with calm colours. The shades are chosen so that text passes a contrast of 4.5 in both schemes,
// which the library's own defaults for secondary text, errors and links do not.
import { ActionIcon, Badge, Button, Card, createTheme, Modal, Table, Tooltip, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core';

const moss: MantineColorsTuple = [
  '#e9f7f3', '#d3ece4', '#a6d9c9', '#76c5ad', '#4fb495', '#35a986', '#1f8f70', '#0f7a5e', '#07664d', '#00513c',
];

// Cooler than the library's: of a piece with the canvas.
const dark: MantineColorsTuple = [
  '#dde2e7', '#b6bec7', '#98a1ab', '#67717c', '#3c444d', '#2f363d', '#1f242a', '#1b1f24', '#15181c', '#0f1215',
];

export const theme = createTheme({
  colors: { moss, dark },
  primaryColor: 'moss',
  primaryShade: { light: 7, dark: 7 },
  autoContrast: false,
  defaultRadius: 'md',
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  headings: {
    fontWeight: '650',
    sizes: { h1: { fontSize: '1.5rem', lineHeight: '1.3' }, h2: { fontSize: '1.1rem', lineHeight: '1.4' }, h3: { fontSize: '0.95rem', lineHeight: '1.4' } },
  },
  focusRing: 'auto',
  respectReducedMotion: true,
  cursorType: 'pointer',
  components: {
    Button: Button.extend({ defaultProps: { size: 'sm' } }),
    ActionIcon: ActionIcon.extend({ defaultProps: { variant: 'subtle', color: 'gray' } }),
    Badge: Badge.extend({ defaultProps: { variant: 'light', radius: 'sm' }, styles: { root: { textTransform: 'none' }, label: { fontWeight: 600 } } }),
    Card: Card.extend({ defaultProps: { withBorder: true, padding: 'lg' } }),
    Modal: Modal.extend({ defaultProps: { centered: true, closeButtonProps: { 'aria-label': 'Close' } } }),
    Table: Table.extend({ defaultProps: { verticalSpacing: 'sm', horizontalSpacing: 'md' } }),
    Tooltip: Tooltip.extend({ defaultProps: { withArrow: true, events: { hover: true, focus: true, touch: true } } }),
  },
});

export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-dimmed': '#55606b',
    '--mantine-color-placeholder': '#66717c',
    '--mantine-color-error': '#b42323',
    '--mantine-color-anchor': '#0b6b52',
    '--mantine-color-body': '#ffffff',
    '--bp-canvas': '#f6f7f8',
    '--bp-good': '#10694f',
    '--bp-good-bg': '#def3ea',
    '--bp-busy': '#1f55a5',
    '--bp-busy-bg': '#e2edfb',
    '--bp-warn': '#7a4b00',
    '--bp-warn-bg': '#fdf0d3',
    '--bp-bad': '#a31f1f',
    '--bp-bad-bg': '#fde6e6',
    '--bp-calm': '#4a5560',
    '--bp-calm-bg': '#e9ecef',
    '--bp-frost': '#0b5c8a',
    '--bp-frost-bg': '#dff1fb',
  },
  dark: {
    '--mantine-color-dimmed': '#a5adb6',
    '--mantine-color-placeholder': '#98a1ab',
    '--mantine-color-error': '#ff9a9a',
    '--mantine-color-anchor': '#6fd0b3',
    '--mantine-color-body': '#1b1f24',
    '--mantine-color-text': '#dde2e7',
    '--mantine-color-default': '#23282e',
    '--mantine-color-default-hover': '#2b3138',
    '--mantine-color-default-border': '#3c444d',
    '--bp-canvas': '#15181c',
    '--bp-good': '#7fdcbb',
    '--bp-good-bg': '#17382e',
    '--bp-busy': '#9dc4ff',
    '--bp-busy-bg': '#1b304d',
    '--bp-warn': '#ffd27a',
    '--bp-warn-bg': '#43340f',
    '--bp-bad': '#ffabab',
    '--bp-bad-bg': '#4a1f22',
    '--bp-calm': '#b6bec7',
    '--bp-calm-bg': '#2c3239',
    '--bp-frost': '#8fd3f7',
    '--bp-frost-bg': '#14374a',
  },
});
