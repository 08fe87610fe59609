"""Make customers, products, orders and uploads: the same seed always makes the same shop."""

import hashlib
import random
from datetime import datetime, timedelta, timezone

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand
from django.db import transaction

from store.models import Customer, Order, OrderLine, Product

PHOTO_BYTES = 512 * 1024
INVOICE_EVERY = 10
FIRST_ORDER = datetime(2026, 1, 1, 8, 0, tzinfo=timezone.utc)


class Command(BaseCommand):
    help = "Fill the shop; may run again to add more."

    def add_arguments(self, parser):
        parser.add_argument("--orders", type=int, default=4000)
        parser.add_argument("--media-mb", type=int, default=200)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args, orders, media_mb, seed, **options):
        dice = random.Random(seed)
        with transaction.atomic():
            customers = self.customers(max(orders // 8, 1), seed)
            products = self.products(max(media_mb * 1024 * 1024 // PHOTO_BYTES, 1), dice)
            made = self.orders(orders, customers, products, dice)
        self.stdout.write(
            f"{len(made)} orders, {len(customers)} customers, {len(products)} products with photos"
        )

    def customers(self, count, seed):
        users = [
            User(username=f"customer-{seed}-{n}", email=f"c{seed}.{n}@example.test", password="!")
            for n in range(count)
        ]
        users = User.objects.bulk_create(users)
        return Customer.objects.bulk_create(
            Customer(user=user, address=f"{n} Harbour Street") for n, user in enumerate(users)
        )

    def products(self, count, dice):
        """Photos are noise: they cannot be compressed and no two are alike, as real ones."""
        made = []
        for n in range(count):
            noise = dice.randbytes(PHOTO_BYTES)
            product = Product(
                name=f"Product {dice.randrange(10**9):09}",
                price_cents=dice.randrange(100, 20_000),
                photo_sha256=hashlib.sha256(noise).hexdigest(),
            )
            product.photo.save(f"{product.name[8:]}-{n}.jpg", ContentFile(noise), save=False)
            made.append(product)
        return Product.objects.bulk_create(made)

    def orders(self, count, customers, products, dice):
        begun = Order.objects.count()
        made = []
        for n in range(begun, begun + count):
            order = Order(customer=dice.choice(customers), placed_at=FIRST_ORDER + timedelta(minutes=7 * n))
            if n % INVOICE_EVERY == 0:
                text = f"Invoice {n}\n{settings.DEFAULT_FROM_EMAIL}\n{dice.randbytes(400).hex()}\n"
                order.invoice.save(f"{n:06}.txt", ContentFile(text.encode()), save=False)
            made.append(order)
        made = Order.objects.bulk_create(made)
        OrderLine.objects.bulk_create(
            OrderLine(order=order, product=dice.choice(products), quantity=dice.randrange(1, 5))
            for order in made
            for _ in range(dice.randrange(1, 4))
        )
        return made
