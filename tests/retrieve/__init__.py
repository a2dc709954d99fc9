"""What the tests of retrieving share."""

from datetime import date

TODAY = date(2025, 6, 30)
