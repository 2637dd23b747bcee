// Sets dark or light before anything is painted; the interface itself takes over from there. A file of its own, because
// the panel's Content-Security-Policy knows no scripts inside of pages.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem('mantine-color-scheme-value');
  } catch (_) {
    // Storage is switched off: then what the system says.
  }
  var dark = chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light');
})();
