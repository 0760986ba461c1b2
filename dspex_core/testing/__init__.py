"""What tests of programs need: stand-ins for the outside world, and conformance suites."""
