"""Code for the app: snippets in Kotlin, Swift, Python and C++ that run an exported artifact, written beside it."""
