"""What the bench puts into our shop before it opens: one product, and 易支付 to pay with."""

SKU = "BENCH"
PAYEE = "1001"
PAYEE_KEY = "bench-merchant-key"
