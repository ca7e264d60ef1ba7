"""Contract suites for plug-in authors: inherit one class for each plug-in, and pytest runs everything it promises.

    from edgekit.testing.format_contract import FormatContract

    class TestNpz(FormatContract):
        name = "npz"
        cases = (("two_inputs", "fp32"),)

edgekit's own plug-ins are held by these same classes. Only this package imports pytest.
"""
